//! What all pulls share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::negative_cache::NegativeCache;
use super::single_flight::SingleFlight;
use crate::error::Error;
use crate::oci::options::RegistryOptions;
use crate::oci::policy::Policy;
use crate::oci::registry::Registry;
use crate::oci::store::{Store, StoreOptions};

/// Modules out of archives that are on disk at once: unlike blobs in the store, they occupy disk space until they are
/// sent.
#[doc(alias = "bound")]
const MAX_EXTRACTED: usize = 64;

/// Pulls modules to disk, each once for any number of requests.
#[derive(Debug)]
pub struct Puller {
    pub(super) options: RegistryOptions,
    pub(super) registry: Registry,
    pub(super) store: Arc<Store>,
    /// Layers that are extracted at once: as many as are fetched.
    pub(super) extracting: Semaphore,
    /// Extracted modules that still exist.
    pub(super) extracted: Arc<Semaphore>,
    pub(super) single_flight: SingleFlight,
    pub(super) errors: NegativeCache,
}

impl Puller {
    /// A puller with these registries and this store, which keeps to the policy of the registries' options.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable, [`Error::Disk`] if the store is.
    pub fn new(options: &RegistryOptions, store: &StoreOptions) -> Result<Self, Error> {
        Ok(Self {
            registry: Registry::new(options, Policy::new(options))?,
            store: Store::open(store)?,
            options: options.clone(),
            extracting: Semaphore::new(options.max_fetches),
            extracted: Arc::new(Semaphore::new(MAX_EXTRACTED)),
            single_flight: SingleFlight::default(),
            errors: NegativeCache::default(),
        })
    }

    /// The registries.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}
