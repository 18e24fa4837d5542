//! How many messages are printed beside the data.

use clap::{ArgAction, Args};
use propeller_proxy::config::LogLevel;

use crate::logging;
use crate::operation::LogFormat;

/// Levels, the most severe first.
const LEVELS: [LogLevel; 5] = [LogLevel::ERROR, LogLevel::WARN, LogLevel::INFO, LogLevel::DEBUG, LogLevel::TRACE];

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Verbosity {
    /// Say more; twice for still more
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say less, and show no progress
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
}

impl Verbosity {
    /// The least severe level of the log, of which `usual` is that without flags.
    pub(crate) fn level(self, usual: LogLevel) -> LogLevel {
        let usual = LEVELS.iter().position(|level| *level == usual).unwrap_or_default();
        LEVELS[(usual + usize::from(self.verbose)).saturating_sub(self.quiet.into()).min(LEVELS.len() - 1)]
    }

    /// Starts the log of a command that is no service: for people, with warnings.
    pub(crate) fn start_log(self) {
        logging::start(self.level(LogLevel::WARN), LogFormat::Pretty, None);
    }

    /// Prints a message on standard error, unless it is quiet.
    pub(crate) fn print_message(self, message: &str) {
        if !self.is_quiet() {
            logging::print(message);
        }
    }

    /// Whether only errors are printed.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_count_from_the_usual_level() {
        for (verbose, quiet, usual, level) in [
            (0, 0, LogLevel::INFO, LogLevel::INFO),
            (1, 0, LogLevel::WARN, LogLevel::INFO),
            (9, 0, LogLevel::WARN, LogLevel::TRACE),
            (0, 1, LogLevel::INFO, LogLevel::WARN),
            (0, 9, LogLevel::INFO, LogLevel::ERROR),
        ] {
            assert_eq!(Verbosity { verbose, quiet }.level(usual), level);
        }
    }
}
