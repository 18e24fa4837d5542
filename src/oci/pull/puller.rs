//! The puller, which all pulls share; and one pull.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::lookups::Lookups;
use super::unpacked::Unpacked;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::options::{PullPolicy, RegistryOptions};
use crate::oci::reference::Reference;
use crate::oci::registry::{Progress, Registry, Repository};
use crate::oci::store::{Scope, Store, StoreOptions};
use crate::util::fair::{FairSemaphore, Party};
use crate::util::sync::lock;
use crate::util::ttl_cache::TtlCache;

/// How long an error is returned again without a request to the registry.
#[doc(alias = "bound")]
const ERROR_TTL: Duration = Duration::from_secs(10);
/// Errors of pulls that are cached.
#[doc(alias = "bound")]
const MAX_ERRORS: usize = 1024;

/// Pulls modules to disk, each once for any number of requests.
#[derive(Debug)]
pub struct Puller {
    pub(super) options: RegistryOptions,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<Store>,
    /// Layers that are extracted at once: as many as are fetched, and as many again for parties that have none.
    pub(super) extracting: Arc<FairSemaphore>,
    pub(super) unpacked: Unpacked,
    pub(super) single_flight: SingleFlight,
    pub(super) lookups: Lookups,
    /// Permanent errors, by operation, reference, and digest of the repository's identity.
    pub(super) errors: TtlCache<(Operation, String, Digest), Error>,
}

/// The fetches in progress. Others that need the same blob wait, and read it from the store then.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<HashMap<(PathBuf, Digest), Flight>>);

type Flight = Arc<tokio::sync::Mutex<()>>;

/// What is done with a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Resolve,
    Pull,
    Inspect,
}

impl Operation {
    pub(super) const ALL: [Self; 3] = [Self::Resolve, Self::Pull, Self::Inspect];
}

/// One pull.
#[derive(Debug, Clone)]
pub(super) struct Pull<'a> {
    pub(super) puller: &'a Puller,
    pub(super) reference: &'a Reference,
    pub(super) repository: Arc<Repository<'a>>,
    pub(super) scope: Scope,
    /// For whom it is.
    pub(super) party: Party,
    pub(super) policy: PullPolicy,
    /// Of the download of the layer.
    pub(super) progress: Option<&'a Progress>,
    deadline: Instant,
}

impl Puller {
    /// A puller with these registries and this store, which keeps to the policy of the registries' options.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable, [`Error::Disk`] if the store is.
    pub fn new(options: &RegistryOptions, store: &StoreOptions) -> Result<Self, Error> {
        Ok(Self {
            registry: Registry::new(options)?,
            store: Store::open(store)?,
            options: options.clone(),
            extracting: FairSemaphore::new(options.max_fetches, options.max_fetches),
            unpacked: Unpacked::default(),
            single_flight: SingleFlight::default(),
            lookups: Lookups::default(),
            errors: TtlCache::new(MAX_ERRORS),
        })
    }

    /// Refuses a reference that the policy does not permit.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn permit(&self, reference: &Reference) -> Result<(), Error> {
        self.registry.permit(reference)
    }

    /// Starts a pull for `party`: its deadline counts from when its credentials are known.
    pub(super) async fn start<'a>(
        &'a self,
        reference: &'a Reference,
        party: Party,
        progress: Option<&'a Progress>,
    ) -> Result<Pull<'a>, Error> {
        let mut repository = self.registry.repository(reference, party.clone()).await?;
        let deadline = Instant::now() + self.options.fetch_timeout;
        repository.deadline = Some(deadline);
        let scope = self.store.scope(&repository.identity());
        let repository = Arc::new(repository);
        Ok(Pull {
            puller: self,
            reference,
            repository,
            scope,
            party,
            policy: self.options.pull_policy,
            progress,
            deadline,
        })
    }

    /// Runs `work`, and drops it at the deadline, which is the limit of fetches after its begin; `what` names it in the
    /// error.
    pub(super) async fn within<T>(
        &self,
        deadline: Instant,
        reference: &Reference,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let limit = self.options.fetch_timeout.as_secs_f64();
            let detail = format!("{what} it took longer than {limit} s (PROXY_FETCH_TIMEOUT)");
            Err(Error::RegistryUnreachable { object: reference.to_string(), detail })
        })
    }
}

impl SingleFlight {
    /// Waits until no other task fetches this blob.
    pub(super) async fn enter(&self, scope: &Scope, digest: Digest) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = lock(&self.0);
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            Arc::clone(flights.entry((scope.folder.clone(), digest)).or_default())
        };
        flight.lock_owned().await
    }
}

impl Pull<'_> {
    /// Runs `work` until the deadline, unless a permanent error of it is cached, which is returned again then.
    pub(super) async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let key = (operation, self.reference.to_string(), Digest::of(&self.repository.identity()));
        if let Some(error) = self.puller.errors.get(&key) {
            return Err(error);
        }
        let result = self.puller.within(self.deadline, self.reference, "finding and fetching", work).await;
        if let Err(error) = &result
            && !error.retryable()
        {
            self.puller.errors.insert(key, error.clone(), std::time::Instant::now() + ERROR_TTL);
        }
        result
    }

    /// Refuses a request to the registry where the policy permits the store only.
    pub(super) fn permit_request(&self, digest: Digest) -> Result<(), Error> {
        if self.policy == PullPolicy::Never {
            return Err(Error::NotCached { object: digest.to_string() });
        }
        Ok(())
    }
}
