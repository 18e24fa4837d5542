//! The progress of a download.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;

/// The progress of the download of one blob, readable at any time.
#[derive(Debug, Default)]
pub struct Progress {
    blob: OnceLock<Digest>,
    received: AtomicU64,
    size: AtomicU64,
}

impl Progress {
    /// The bytes received, and the size of the blob; 0 while nothing is downloaded.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed))
    }

    /// Names the blob.
    pub(super) fn track(&self, blob: Digest) {
        // There is one blob in each pull.
        let _ = self.blob.set(blob);
    }

    pub(super) fn record(&self, blob: &Descriptor, received: u64) {
        if self.blob.get() == Some(&blob.digest) {
            self.received.store(received, Ordering::Relaxed);
            self.size.store(blob.size, Ordering::Relaxed);
        }
    }
}
