//! The last contact with the configured registry.

use std::sync::Mutex;
use std::time::Instant;

use super::failure::Failure;
use crate::error::Error;
use crate::util::metrics;
use crate::util::sync::lock;

/// An exchange with the configured registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// When it ended.
    pub at: Instant,
    /// Whether the registry answered, whatever it answered; else what failed, without the name of any module.
    pub outcome: Result<(), String>,
}

/// The last contact; none before the first exchange.
#[derive(Debug, Default)]
pub(super) struct LastContact(Mutex<Option<Contact>>);

impl LastContact {
    pub(super) fn get(&self) -> Option<Contact> {
        lock(&self.0).clone()
    }

    /// Records the outcome of an exchange that ends now.
    pub(super) fn record(&self, outcome: Result<(), String>) -> Contact {
        metrics::registry_up(outcome.is_ok());
        let contact = Contact { at: Instant::now(), outcome };
        *lock(&self.0) = Some(contact.clone());
        contact
    }
}

/// The outcome of an exchange. It names no object: whoever reads the readiness must not learn the names of modules.
pub(super) fn outcome<T>(result: &Result<T, Failure>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(Failure::Transient(error, _) | Failure::Permanent(error)) => Err(match error {
            Error::RegistryUnreachable { detail, .. } => detail.clone(),
            error => error.code().to_owned(),
        }),
    }
}
