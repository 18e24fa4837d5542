//! The fields of a line for people.

use std::fmt::{self, Debug};

use propeller_proxy::error::{escaped, shortened};
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{self, Writer};

use super::value::MAX_VALUE;

/// Formats fields as one line: what a terminal would obey is escaped, and what is too long is shortened.
pub(super) fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(field).delimited(" ")
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = escaped(&shortened(&format!("{value:?}"), MAX_VALUE)).into_owned();
    match field.name() {
        "message" => writer.write_str(&value),
        // Where a record of the crate `log` comes from.
        name if name.starts_with("log.") => Ok(()),
        name if writer.has_ansi_escapes() => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
        name => write!(writer, "{name}={value}"),
    }
}
