//! Exit statuses and the last words before them.

use propeller_proxy::error::Error;

/// It did what it was to do.
pub const SUCCESS: u8 = 0;
/// Something failed while it ran.
pub const FAILURE: u8 = 1;
/// The broker refused the connection or the subscription (`EX_NOPERM`).
pub const BROKER_REFUSED: u8 = 77;
/// The configuration is missing something or wrong (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;

/// The statuses as `--help` explains them.
pub(crate) const HELP: &str = "\
Exit status:
  0   stopped by SIGTERM or SIGINT, or the demo went well
  1   something failed while it ran
  2   the command line is wrong
  77  the broker refused the credentials or the subscription
  78  the configuration is missing something or wrong";

/// Prints what happened and what to do about it, and gives the status.
pub(crate) fn fail(status: u8, message: &str, hint: Option<&str>) -> u8 {
    eprintln!("error: {message}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    status
}

/// As [`fail`], for an error of the core.
pub(crate) fn fail_with(error: &Error) -> u8 {
    let status = if matches!(error, Error::BrokerRefused { .. } | Error::BrokerUntrusted { .. }) {
        BROKER_REFUSED
    } else {
        FAILURE
    };
    fail(status, &error.to_string(), error.hint())
}
