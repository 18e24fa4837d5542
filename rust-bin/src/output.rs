//! What is printed: data on standard output, as text or JSON.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use propeller_proxy::error;
use serde::Serialize;
use tokio::task::block_in_place;

use crate::exit::Failure;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Prints data; that nobody reads it is no error.
pub(crate) fn print(data: &[u8]) -> Result<(), Failure> {
    // A reader that takes its time must not keep signals from being seen.
    let printed = block_in_place(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(data).and_then(|()| stdout.flush())
    });
    printed.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::of_system("standard output cannot be written", &error),
    })
}

/// Prints text as a line, or several.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(format!("{text}\n").as_bytes())
}

/// Says something to people, on standard error; if nobody listens, that is no error either.
pub(crate) fn say(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
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

/// A text from elsewhere without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    error::printable(text, usize::MAX)
}

/// So many chunks, in words.
pub(crate) fn chunks(count: u64) -> String {
    if count == 1 { "1 chunk".into() } else { format!("{count} chunks") }
}

/// Whether what is written to a stream may be coloured (<https://no-color.org>).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let text = "a\u{1b}[31m\u{7f}\u{9b}2J\nb\u{fc}";
        assert_eq!(printable(text), "a [31m  2J b\u{fc}");
        let line = json_line(&text);
        assert_eq!(line, r#""a\u001b[31m\u007f\u009b2J\nbü""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
