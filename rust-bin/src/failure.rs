//! Why a command ends before it has done its work.

use std::io;

use propeller_proxy::config::ConfigError;
use propeller_proxy::error::Error;

/// Why a command ends before it has done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something failed in the core.
    Core(Error),
    /// The configuration is wrong.
    Configuration(ConfigError),
    /// A call of the system failed: what it was for, and why.
    System(String),
    /// Something else failed: the exit status, a message, and what to do about it.
    Other(u8, String, Option<String>),
    /// The reader has closed standard output, and may well have read enough.
    OutputClosed,
    /// A signal came.
    Stopped,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

impl Failure {
    /// A call of the system failed.
    pub(crate) fn of_system(what: &str, error: &io::Error) -> Self {
        Self::System(format!("{what}: {error}"))
    }
}
