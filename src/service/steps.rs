//! The first steps of a delivery: bringing the module, and cutting it.

use tracing::warn;

use super::group::Claim;
use super::{Purpose, Service};
use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::versions::{Candidate, MAX_APPS, TagMoves, Unsafe};
use crate::error::Error;
use crate::mqtt::topic::App;
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;
use crate::oci::pull::Pulled;
use crate::oci::reference::{Reference, Version};
use crate::util::sync::lock;

/// Messages that a subscriber of mosquitto may have waiting, if it is not configured otherwise.
const USUAL_QUEUE: u64 = 1000;

impl Service {
    /// Brings the module: as the reference means it now, or as it was sent last.
    pub(super) async fn pull(&self, app: &App, reference: &Reference, purpose: Purpose) -> Result<Pulled, Error> {
        let root = {
            let versions = lock(&self.versions);
            match (purpose, self.config.delivery.tag_moves) {
                (Purpose::Request, TagMoves::Fresh) => None,
                (Purpose::Request, TagMoves::Pinned) => versions.pin(app, self.clock.now()),
                (Purpose::Resume | Purpose::Repeat, _) => versions.latest(app),
            }
        };
        let Some(root) = root else { return self.puller.pull(reference).await };
        let pinned = Reference { version: Version::Digest(root), ..reference.clone() };
        match self.puller.pull(&pinned).await {
            Err(error) if purpose == Purpose::Resume => {
                warn!(app_name = &*app.name, %root, "what was being sent is not there any more: {error}");
                self.puller.pull(reference).await
            }
            pulled => pulled,
        }
    }

    /// Cuts the module so that no device mixes it with another one.
    pub(super) fn plan(
        &self,
        app: &App,
        reference: &Reference,
        root: Digest,
        module: &Blob,
    ) -> Result<ChunkPlan, Error> {
        let may_move = matches!(reference.version, Version::Tag(_));
        let module = Candidate { root, digest: module.digest(), size: module.size(), may_move };
        let plan = lock(&self.versions).begin(app, module, self.config.delivery.chunk_size, self.clock.now());
        let app_name = app.name.to_string();
        let plan = plan.map_err(|reason| match reason {
            Unsafe::NoTotal => Error::TagMoves { app_name },
            Unsafe::TooManyApps => Error::Overloaded { app_name, limit: MAX_APPS, what: "apps were sent lately" },
        })?;
        let total_chunks = plan.total_chunks();
        if total_chunks > USUAL_QUEUE {
            warn!(
                event = "long-queue",
                app_name = &*app.name,
                total_chunks,
                "more chunks than the queue of {USUAL_QUEUE} messages that many brokers keep for a slow subscriber; \
                 raise PROXY_CHUNK_SIZE, or the broker's limit"
            );
        }
        Ok(plan)
    }

    /// Writes down what is about to be sent, and agrees with the other replicas that this one sends it.
    pub(super) async fn settle(
        &self,
        app: &App,
        digest: Digest,
        plan: &ChunkPlan,
        purpose: Purpose,
    ) -> Result<Claim, Error> {
        let versions = lock(&self.versions).of(app).to_vec();
        self.state.keep_versions(app.clone(), versions).await?;
        match (&self.group, purpose) {
            (None, _) | (_, Purpose::Repeat) => Ok(Claim::Hold),
            (Some(group), _) => self.agree(group, app, digest, plan).await,
        }
    }
}
