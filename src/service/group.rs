//! The replicas of this proxy, as it hears them.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Service;
use super::deliveries::Deliveries;
use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::replicas::{HEARTBEAT_INTERVAL, Replicas};
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::status::{DeliveryState, Status};
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::sync::lock;

/// How long a replica waits to hear its own claim. If the link is down, nothing can be sent either.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);

/// What this replica knows of the others, and what it has claimed.
#[derive(Debug)]
pub(super) struct Group {
    me: String,
    replicas: Mutex<Replicas>,
    claims: Mutex<HashMap<App, oneshot::Sender<Claim>>>,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// This replica sends the app.
    Hold,
    /// Another one was first.
    GiveWay,
    /// Devices may have chunks of another version in as many chunks.
    Clash,
}

/// A claim that was not heard yet.
#[derive(Debug)]
pub(super) struct Claimed(oneshot::Receiver<Claim>, String);

impl Claimed {
    /// Waits until the broker has told everybody.
    pub(super) async fn heard(self) -> Result<Claim, Error> {
        let Self(heard, app_name) = self;
        match tokio::time::timeout(CLAIM_TIMEOUT, heard).await {
            Ok(Ok(claim)) => Ok(claim),
            // A newer transfer of the app has made a claim of its own.
            Ok(Err(_)) => Ok(Claim::GiveWay),
            Err(_) => Err(Error::Unheard { app_name }),
        }
    }
}

impl Group {
    /// How often a replica that is at something has to be heard.
    pub(super) const HEARTBEAT: Duration = HEARTBEAT_INTERVAL;

    /// How long a replica that may have missed something waits for those who know better.
    pub(super) const OBJECTION_TIME: Duration = Duration::from_millis(500);

    pub(super) fn new(me: String) -> Self {
        Self { replicas: Mutex::new(Replicas::new(me.clone())), me, claims: Mutex::default() }
    }

    /// Prepares to hear the claim to `app` that is published next.
    pub(super) fn claim(&self, app: &App) -> Claimed {
        let (sender, receiver) = oneshot::channel();
        let mut claims = lock(&self.claims);
        claims.retain(|_, claim| !claim.is_closed());
        claims.insert(app.clone(), sender);
        Claimed(receiver, app.name.to_string())
    }

    pub(super) fn assign(&self, app: &App, now: Time) {
        lock(&self.replicas).assign(app, now);
    }

    pub(super) fn witness(&self, app: &App, now: Time) {
        lock(&self.replicas).witness(app, now);
    }

    pub(super) fn take(&self, app: &App, mine: bool, now: Time) -> Vec<Time> {
        lock(&self.replicas).take(app, mine, now)
    }

    pub(super) fn give_back(&self, app: &App, count: usize, now: Time) {
        lock(&self.replicas).give_back(app, count, now);
    }

    pub(super) fn orphans(&self, now: Time) -> Vec<(App, Vec<Time>)> {
        lock(&self.replicas).orphans(now)
    }

    pub(super) fn left(&self, instance: &str) {
        lock(&self.replicas).left(instance);
    }

    /// Takes in a status message, of another replica or of this one; returns the module that another one tells of.
    pub(super) fn hear(&self, app: &App, status: &Status, now: Time) -> Option<(Digest, ChunkPlan)> {
        let mut replicas = lock(&self.replicas);
        if status.instance == self.me {
            if status.state == DeliveryState::Fetching
                && status.digest.is_some()
                && let Some(claim) = lock(&self.claims).remove(app)
            {
                let is_late = replicas.is_sent_by_another(app, now);
                // Whoever waited for it may be gone already.
                let _ = claim.send(if is_late { Claim::GiveWay } else { Claim::Hold });
            }
            return None;
        }
        match status.state {
            DeliveryState::Queued | DeliveryState::Fetching | DeliveryState::Sending => {
                // Who knows the module has claimed it.
                replicas.works(&status.instance, app, status.digest.is_some(), now);
            }
            DeliveryState::Sent | DeliveryState::Failed => replicas.done(&status.instance, app, now),
        }
        let chunk_size = NonZeroU32::new(status.chunk_size?)?;
        Some((status.digest?, ChunkPlan::with_total(status.size?, chunk_size, status.total_chunks?)?))
    }
}

impl Service {
    /// Claims an app before the other replicas.
    pub(super) async fn agree(
        &self,
        group: &Group,
        app: &App,
        digest: Digest,
        plan: &ChunkPlan,
    ) -> Result<Claim, Error> {
        let claim = group.claim(app);
        self.reporter.tell_progress(app, DeliveryState::Fetching, digest, plan, 0);
        let claim = claim.heard().await?;
        let is_unsure = lock(&self.versions).is_unsure(self.clock.now());
        if claim == Claim::Hold && is_unsure && plan.total_chunks() > 1 {
            tokio::time::sleep(Group::OBJECTION_TIME).await;
            if lock(&self.versions).clash(app, digest, plan, self.clock.now()).is_some() {
                return Ok(Claim::Clash);
            }
        }
        Ok(claim)
    }

    /// Takes in what a replica tells.
    pub(super) fn heard(&self, group: &Group, app: &App, status: &Status) {
        let now = self.clock.now();
        let Some((digest, plan)) = group.hear(app, status, now) else { return };
        let mut versions = lock(&self.versions);
        // It may not have heard of this one.
        if status.state == DeliveryState::Fetching
            && let Some(version) = versions.clash(app, digest, &plan, now)
        {
            let total_chunks = version.plan.total_chunks();
            self.reporter.tell_progress(app, DeliveryState::Sent, version.digest, &version.plan, total_chunks);
        }
        versions.hear(app, digest, plan, now);
        // Progress comes every second, and its end is told as well.
        if status.state != DeliveryState::Sending {
            self.state.note_versions(app.clone(), versions.of(app).to_vec());
        }
    }

    /// Serves the requests for `app` that are this replica's.
    pub(super) fn take_over(self: &Arc<Self>, group: &Group, app: &App, deliveries: &mut Deliveries<'_>) {
        for arrived in group.take(app, self.courier.is_open(app), self.clock.now()) {
            self.request(app, arrived, Ack::default(), deliveries);
        }
    }
}
