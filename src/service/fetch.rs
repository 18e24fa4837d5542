//! Resolving and fetching one module: from the reference of a request to the verified bytes on disk.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::debug_span;

use super::delivery::Fetched;
use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::Candidate;
use crate::error::Error;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::oci::host::RegistryUrl;
use crate::oci::pull::{Pulled, Puller};
use crate::oci::reference::{Reference, Version};
use crate::oci::wasm;
use crate::telemetry::Telemetry;

/// The fetching of one module.
pub(super) struct Fetch {
    pub(super) app: App,
    pub(super) purpose: Purpose,
    /// The manifest to fetch; what the reference means now if there is none.
    pub(super) root: Option<Digest>,
    pub(super) registry: RegistryUrl,
    pub(super) places: Arc<Semaphore>,
    pub(super) puller: Arc<Puller>,
    pub(super) telemetry: Arc<Telemetry>,
}

impl Fetch {
    /// Resolves the reference, fetches and verifies the module.
    pub(super) async fn run(self) -> Result<Fetched, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Error::Stopping { app_name: self.app.name.to_string() })?;
        self.telemetry.fetching(&self.app, self.purpose);
        let reference = Reference::parse(&self.app.name, &self.registry)?;
        let pulled = match self.root {
            None => self.puller.pull(&reference).await,
            Some(root) => self.pull_version(&reference, root).await,
        }?;
        let (root, blob) = (pulled.root, pulled.module);
        let (digest, size) = (blob.digest(), blob.size());
        self.telemetry.fetched(&self.app, digest, size);
        debug_span!("verify").in_scope(|| wasm::check(&blob))?;
        let may_move = matches!(reference.version, Version::Tag(_));
        Ok(Fetched { blob, candidate: Candidate { root, digest, size, may_move }, _place: place })
    }

    /// The version that was sent last; what the reference means now, if an interrupted version is gone.
    async fn pull_version(&self, reference: &Reference, root: Digest) -> Result<Pulled, Error> {
        let version = Reference { version: Version::Digest(root), ..reference.clone() };
        match self.puller.pull(&version).await {
            Err(error) if self.purpose == Purpose::Resume => {
                self.telemetry.version_gone(&self.app, root, &error);
                self.puller.pull(reference).await
            }
            pulled => pulled,
        }
    }
}
