//! One pull.

use std::sync::Arc;

use super::deadline::Deadline;
use super::negative_cache::Operation;
use super::puller::Puller;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::options::PullPolicy;
use crate::oci::reference::Reference;
use crate::oci::registry::{Progress, Repository};
use crate::oci::store::Scope;

/// One pull.
#[derive(Debug, Clone)]
pub(super) struct Pull<'a> {
    pub(super) puller: &'a Puller,
    pub(super) reference: &'a Reference,
    pub(super) repository: Arc<Repository<'a>>,
    pub(super) scope: Scope,
    pub(super) policy: PullPolicy,
    deadline: Deadline,
}

impl Puller {
    /// Starts a pull: its deadline counts from when its credentials are known.
    pub(super) async fn start<'a>(
        &'a self,
        reference: &'a Reference,
        progress: Arc<Progress>,
    ) -> Result<Pull<'a>, Error> {
        let repository = self.registry.repository(reference).await?;
        let deadline = Deadline::after(self.options.fetch_timeout);
        let repository = Arc::new(repository.with_progress(progress).with_deadline(deadline.at));
        let scope = self.store.scope(&repository.identity());
        Ok(Pull { puller: self, reference, repository, scope, policy: self.options.pull_policy, deadline })
    }
}

impl Pull<'_> {
    /// The same pull by another policy.
    pub(super) fn with_policy(&self, policy: PullPolicy) -> Self {
        Self { policy, ..self.clone() }
    }

    /// Runs `work` until the deadline, unless the negative cache has its error.
    pub(super) async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (errors, identity) = (&self.puller.errors, self.repository.identity());
        if let Some(error) = errors.get(operation, self.reference, &identity) {
            return Err(error);
        }
        let result = self.deadline.enforce(self.reference, "finding and fetching", work).await;
        if let Err(error) = &result {
            errors.insert(operation, self.reference, &identity, error);
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
