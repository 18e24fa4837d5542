//! What is printed: data on standard output, as text or JSON.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use propeller_proxy::error::is_obeyed;
use serde::Serialize;
use tokio::task::block_in_place;

use crate::failure::Failure;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Prints data.
///
/// # Errors
/// [`Failure::OutputClosed`] if the reader has closed standard output.
pub(crate) fn print(data: &[u8]) -> Result<(), Failure> {
    // A slow reader must not delay signals.
    let printed = block_in_place(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(data).and_then(|()| stdout.flush())
    });
    printed.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::of_system("standard output cannot be written", &error),
    })
}

/// Prints text as a line, or several.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(format!("{text}\n").as_bytes())
}

/// JSON over several lines.
pub(crate) fn json(value: &impl Serialize) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    escaped(&serde_json::to_string(value).unwrap_or_default())
}

/// JSON may have in strings as they are (RFC 8259, section 7): DEL, the control characters beyond ASCII, and other
/// characters that terminals obey. None is beyond the first plane.
fn escaped(json: &str) -> String {
    let is_obeyed = |c: char| is_obeyed(c) && c != '\n';
    let escape = |c: char| if is_obeyed(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
    if json.contains(is_obeyed) { json.chars().map(escape).collect() } else { json.into() }
}

/// So many chunks, in words.
pub(crate) fn chunks(count: u64) -> String {
    if count == 1 { "1 chunk".into() } else { format!("{count} chunks") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::printable;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let text = "a\u{1b}[31m\u{7f}\u{9b}2J\nb\u{fc}\u{85}\u{2028}\u{202e}c";
        assert_eq!(printable(text), "a [31m  2J b\u{fc}   c");
        let line = json_line(&text);
        assert_eq!(line, r#""a\u001b[31m\u007f\u009b2J\nbü\u0085\u2028\u202ec""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
