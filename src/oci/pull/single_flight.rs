//! Single flight: each blob is fetched once at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::oci::digest::Digest;
use crate::oci::store::Scope;
use crate::util::sync::lock;

/// The fetches in progress. Others that need the same blob wait, and read it from the store then.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<HashMap<(PathBuf, Digest), Flight>>);

type Flight = Arc<tokio::sync::Mutex<()>>;

impl SingleFlight {
    /// Waits until no other task fetches this blob.
    pub(super) async fn enter(&self, scope: &Scope, digest: Digest) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = lock(&self.0);
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            Arc::clone(flights.entry((scope.folder().to_owned(), digest)).or_default())
        };
        flight.lock_owned().await
    }
}
