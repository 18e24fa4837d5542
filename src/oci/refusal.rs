//! The errors of artifacts that hold no module to deliver. They show what a publisher wrote: bounded and printable.

use crate::error::{Error, printable};
use crate::oci::reference::Reference;

/// Candidates that a message lists.
#[doc(alias = "bound")]
const MAX_LISTED: usize = 8;
/// Longest text about one candidate in a message, characters.
#[doc(alias = "bound")]
pub(crate) const MAX_SHOWN: usize = 200;
/// Longest reason in a message, characters.
#[doc(alias = "bound")]
const MAX_REASON: usize = 2000;

/// The error of an artifact without a module that can be delivered. The reason may repeat what the publisher wrote.
pub(crate) fn unsupported(reference: &Reference, reason: &str) -> Error {
    Error::Unsupported { reference: reference.to_string(), reason: printable(reason, MAX_REASON) }
}

/// The error of an artifact with several candidates.
pub(crate) fn ambiguous(reference: &Reference, candidates: impl Iterator<Item = String>) -> Error {
    Error::Ambiguous { reference: reference.to_string(), candidates: listed(candidates) }
}

/// The first candidates, as a message shows them.
pub(crate) fn listed(candidates: impl Iterator<Item = String>) -> Vec<String> {
    candidates.take(MAX_LISTED).map(|candidate| printable(&candidate, MAX_SHOWN)).collect()
}
