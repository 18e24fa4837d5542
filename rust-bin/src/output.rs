//! What is printed: data on standard output, as text or JSON.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
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

/// JSON may have DEL and the control characters beyond ASCII in strings as they are (RFC 8259, section 7); terminals obey
/// them.
fn escaped(json: &str) -> String {
    let escape = |c: char| if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
    if json.contains(|c: char| c.is_control() && c != '\n') { json.chars().map(escape).collect() } else { json.into() }
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
        let text = "a\u{1b}[31m\u{7f}\u{9b}2J\nb\u{fc}";
        assert_eq!(printable(text), "a [31m  2J b\u{fc}");
        let line = json_line(&text);
        assert_eq!(line, r#""a\u001b[31m\u007f\u009b2J\nbü""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
