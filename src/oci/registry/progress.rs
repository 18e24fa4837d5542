//! How far a download is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;

/// How far the download of one blob is, for whoever looks meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    blob: OnceLock<Digest>,
    received: AtomicU64,
    size: AtomicU64,
}

impl Progress {
    /// The bytes that are there, and all of them; 0 while nothing is downloaded.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed))
    }

    /// Names the blob that matters.
    pub(super) fn watch(&self, blob: Digest) {
        // There is one in each pull.
        let _ = self.blob.set(blob);
    }

    pub(super) fn note(&self, blob: &Descriptor, received: u64) {
        if self.blob.get() == Some(&blob.digest) {
            self.received.store(received, Ordering::Relaxed);
            self.size.store(blob.size, Ordering::Relaxed);
        }
    }
}
