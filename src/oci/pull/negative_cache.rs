//! The negative cache: a permanent error answers the same operation for a while.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::util::ttl_cache::TtlCache;

/// How long an error is returned again without a request to the registry.
#[doc(alias = "bound")]
const TTL: Duration = Duration::from_secs(10);
/// Errors of pulls that are cached.
#[doc(alias = "bound")]
const MAX_ERRORS: usize = 1024;

/// What is done with a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Resolve,
    Pull,
    Inspect,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Resolve, Self::Pull, Self::Inspect];
}

/// Permanent errors, by operation, reference and the repository's identity.
#[derive(Debug)]
pub(super) struct NegativeCache(TtlCache<(Operation, String, Digest), Error>);

impl Default for NegativeCache {
    fn default() -> Self {
        Self(TtlCache::new(MAX_ERRORS))
    }
}

impl NegativeCache {
    pub(super) fn get(&self, operation: Operation, reference: &Reference, identity: &[u8]) -> Option<Error> {
        self.0.get(&(operation, reference.to_string(), Digest::of(identity)))
    }

    /// Caches an error, unless a retry can help.
    pub(super) fn insert(&self, operation: Operation, reference: &Reference, identity: &[u8], error: &Error) {
        if !error.retryable() {
            let key = (operation, reference.to_string(), Digest::of(identity));
            self.0.insert(key, error.clone(), Instant::now() + TTL);
        }
    }

    /// Removes the errors of a reference.
    pub(super) fn remove(&self, reference: &Reference, identity: &[u8]) {
        for operation in Operation::ALL {
            self.0.remove(&(operation, reference.to_string(), Digest::of(identity)));
        }
    }
}
