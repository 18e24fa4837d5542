//! Text for people: colours, messages on standard error, and what a terminal must not be sent.

use std::env;
use std::io::{self, IsTerminal, Write};

use propeller_proxy::error;

/// Prints a message on standard error; a closed one is no error.
pub(crate) fn print_message(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// A text from elsewhere without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    error::printable(text, usize::MAX)
}

/// Whether what is written to a stream may be coloured (<https://no-color.org>).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
