//! Text for people: colours, and what a terminal must not be sent.

use std::env;
use std::io::IsTerminal;

use propeller_proxy::error;

/// A text from elsewhere without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    error::printable(text, usize::MAX)
}

/// Whether what is written to a stream may be coloured (<https://no-color.org>).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
