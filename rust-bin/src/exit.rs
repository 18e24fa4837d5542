//! Exit statuses, and the messages that are printed before them.

use std::fmt::Write as _;
use std::io;

use clap::builder::styling::{AnsiColor, Style};
use propeller_proxy::config::ConfigError;
use propeller_proxy::error::Error;

use crate::failure::Failure;
use crate::logging::print;
use crate::terminal::{is_coloured, printable};

/// It did what it was to do.
pub const SUCCESS: u8 = 0;
/// Something failed while it ran.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The broker refused the connection or the subscription (`EX_NOPERM`).
pub const BROKER_REFUSED: u8 = 77;
/// The configuration is missing something or wrong (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;
/// Ended by SIGINT: 128 and its number, as shells have it.
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM.
pub const TERMINATED: u8 = 143;

/// What the statuses mean, for help texts.
const MEANINGS: &[(u8, &str)] = &[
    (SUCCESS, "it did what it was to do"),
    (FAILURE, "something failed"),
    (USAGE, "the command line is wrong"),
    (BROKER_REFUSED, "the broker refused the credentials or the subscription, or a certificate is not trusted"),
    (CONFIGURATION, "the configuration is missing something or wrong"),
    (INTERRUPTED, "interrupted by Ctrl-C (SIGINT)"),
    (TERMINATED, "ended by SIGTERM"),
];
/// What any command may end with.
pub(crate) const ALWAYS: &[u8] = &[SUCCESS, FAILURE, USAGE];
/// What a command may end with that only reads the configuration.
pub(crate) const OF_CONFIGURATION: &[u8] = &[SUCCESS, FAILURE, USAGE, CONFIGURATION];
/// What a command that runs until a signal may end with.
pub(crate) const OF_SERVICE: &[u8] = &[SUCCESS, FAILURE, USAGE, BROKER_REFUSED, CONFIGURATION];
/// What a command may end with that uses the broker and can be interrupted.
pub(crate) const OF_BROKER: &[u8] = &[SUCCESS, FAILURE, USAGE, BROKER_REFUSED, CONFIGURATION, INTERRUPTED, TERMINATED];
/// The same without the broker.
pub(crate) const OF_REGISTRY: &[u8] = &[SUCCESS, FAILURE, USAGE, CONFIGURATION, INTERRUPTED, TERMINATED];

/// The end of a help text: examples, and the statuses with which the command may end.
pub(crate) fn help(examples: &[&str], statuses: &[u8]) -> String {
    let mut help = format!("Examples:\n  {}\n\nExit status:", examples.join("\n  "));
    for (status, meaning) in MEANINGS.iter().filter(|(status, _)| statuses.contains(status)) {
        // Writing to a string does not fail.
        let _ = write!(help, "\n  {status:<3} {meaning}");
    }
    help
}

impl Failure {
    /// Prints what happened, and returns the status; `signal` is that of the signal, if it was one.
    pub(crate) fn report(self, signal: u8) -> u8 {
        match self {
            Self::Core(error) => fail_with(&error),
            Self::Configuration(error) => misconfigured(&error),
            Self::System(message) => fail(FAILURE, &message, None),
            Self::Other(status, message, hint) => fail(status, &message, hint.as_deref()),
            Self::OutputClosed => SUCCESS,
            Self::Stopped => signal,
        }
    }
}

/// The status of a command that signals end at once.
pub(crate) fn of(outcome: Result<u8, Failure>) -> u8 {
    outcome.unwrap_or_else(|failure| failure.report(FAILURE))
}

/// The status of a command that has printed its data; a closed standard output changes nothing of it.
pub(crate) fn after(printed: Result<(), Failure>, status: u8) -> Result<u8, Failure> {
    match printed {
        Ok(()) | Err(Failure::OutputClosed) => Ok(status),
        Err(failure) => Err(failure),
    }
}

/// Prints what happened and what to do about it, and returns the status.
pub(crate) fn fail(status: u8, message: &str, hint: Option<&str>) -> u8 {
    let coloured = is_coloured(&io::stderr());
    let label = |word: &str, colour: AnsiColor| {
        let style = if coloured { colour.on_default().bold() } else { Style::new() };
        format!("{style}{word}:{style:#}")
    };
    print(&format!("{} {message}", label("error", AnsiColor::Red)));
    if let Some(hint) = hint {
        print(&format!("{} {hint}", label("hint", AnsiColor::Cyan)));
    }
    status
}

/// As [`fail`], for a configuration that cannot be used.
pub(crate) fn misconfigured(error: &ConfigError) -> u8 {
    fail(CONFIGURATION, &error.to_string(), Some("`propeller-proxy config` prints what is given, and where"))
}

/// As [`fail`], for an error of the core.
pub(crate) fn fail_with(error: &Error) -> u8 {
    fail(status_of(error), &printable(&error.to_string()), error.hint())
}

/// The status of a command that ends for an error of the core.
pub(crate) fn status_of(error: &Error) -> u8 {
    if matches!(error, Error::BrokerRefused { .. } | Error::BrokerUntrusted { .. }) { BROKER_REFUSED } else { FAILURE }
}
