//! The coordinator as a member of a group of replicas: claims, objections, what other replicas serve.

use std::num::NonZeroU32;
use std::time::Duration;

use super::action::{Action, End};
use super::coordinator::Coordinator;
use super::replicas::CLAIM_TIMEOUT;
use super::schedule::TransferId;
use super::transfer::Stage;
use super::versions::Version;
use crate::delivery::plan::ChunkPlan;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::status::{DeliveryState, Status};
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// How long a replica that may not know all versions waits for objections to its claim.
#[doc(alias = "bound")]
const OBJECTION_TIME: Duration = Duration::from_millis(500);

/// What a status message of a replica says of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaStatus {
    /// It serves the app; with the version that it sends, if that is known.
    Serves(Option<Version>),
    /// It claims the app.
    Claims(Version),
    /// It objects to a claim: it remembers this version, in as many chunks.
    Objects(Version),
    /// It covered all requests of its transfer.
    Delivered(Option<Version>),
    /// Its transfer failed.
    Failed,
    /// It is being stopped, with a transfer that it did not complete.
    Stops,
    /// It rejected a request; that says nothing of its transfers.
    Rejects,
    /// It is there; that says nothing of any app. The number is for itself.
    Lives(u64),
}

impl ReplicaStatus {
    /// What a message says.
    pub fn of(status: &Status) -> Self {
        let version = version_of(status);
        if status.app_name.is_empty() {
            return Self::Lives(status.sent_chunks);
        }
        match (status.state, version) {
            (DeliveryState::Fetching, Some(version)) => Self::Claims(version),
            (DeliveryState::Queued | DeliveryState::Fetching | DeliveryState::Sending, version) => {
                Self::Serves(version)
            }
            (DeliveryState::Objected, Some(version)) => Self::Objects(version),
            (DeliveryState::Objected, None) => Self::Rejects,
            (DeliveryState::Sent, version) => Self::Delivered(version),
            (DeliveryState::Failed, _) => match status.error.as_ref().map(|failure| &*failure.code) {
                Some("stopping") => Self::Stops,
                Some("too-late" | "overloaded" | "over-budget") => Self::Rejects,
                _ => Self::Failed,
            },
        }
    }
}

/// The version that a status message is about.
fn version_of(status: &Status) -> Option<Version> {
    let chunk_size = NonZeroU32::new(status.chunk_size?)?;
    let plan = ChunkPlan::with_total(status.size?, chunk_size, status.total_chunks?)?;
    Some(Version { root: None, digest: status.digest?, plan })
}

impl<W> Coordinator<W> {
    /// A replica, which may be this one, published a status message.
    pub fn replica_status(&mut self, instance: &str, app: &App, status: ReplicaStatus, now: Time) {
        let Some(replicas) = &mut self.replicas else { return };
        if replicas.is_me(instance) {
            match status {
                ReplicaStatus::Claims(version) => self.claim_returned(app, &version, now),
                ReplicaStatus::Serves(_) | ReplicaStatus::Objects(_) => {}
                ReplicaStatus::Lives(number) => {
                    if replicas.renewed(number).is_some_and(|gap| gap >= TASK_TIMEOUT) {
                        self.begin_again(now);
                    }
                }
                _ => replicas.release(app),
            }
            return;
        }
        match status {
            ReplicaStatus::Serves(version) => self.replica_serves(instance, app, version, false, now),
            ReplicaStatus::Claims(version) => self.replica_serves(instance, app, Some(version), true, now),
            ReplicaStatus::Objects(version) => {
                self.note_version(app, version, now);
                self.persist_versions(app.clone(), None);
            }
            ReplicaStatus::Delivered(version) => {
                let served = replicas.ended(instance, app, now);
                self.forget(&served);
                if let Some(version) = version {
                    self.note_version(app, version, now);
                    self.persist_versions(app.clone(), None);
                }
            }
            ReplicaStatus::Failed => {
                let failed = replicas.failed(instance, app, now);
                self.forget(&failed);
            }
            ReplicaStatus::Stops => replicas.stops(instance, app),
            ReplicaStatus::Rejects | ReplicaStatus::Lives(_) => replicas.note(instance, now),
        }
    }

    /// This replica received its own claim back.
    fn claim_returned(&mut self, app: &App, claim: &Version, now: Time) {
        let Some(id) = self.schedule.open(app) else { return };
        let Some(transfer) = self.schedule.get_mut(id) else { return };
        let Stage::Claiming(prepared, since) = transfer.stage else { return };
        if (prepared.candidate.digest, prepared.plan) != (claim.digest, claim.plan) {
            return;
        }
        let Some(replicas) = &mut self.replicas else { return };
        if replicas.is_claimed(app, now) {
            return self.end(id, End::Yielded, now);
        }
        if now.since(since) >= CLAIM_TIMEOUT {
            // So late that another replica may have served the app, behind this message.
            transfer.stage = Stage::Claiming(prepared, now);
            return self.actions.push_back(Action::Claim(app.clone(), prepared.version()));
        }
        replicas.hold(app, now);
        replicas.claimed(since);
        if self.versions.is_uncertain(now) && prepared.plan.total_chunks() > 1 {
            transfer.stage = Stage::Contested(prepared, now + OBJECTION_TIME);
        } else {
            self.send_unless_it_clashes(id, now);
        }
    }

    /// Sends a version that is claimed, or cuts it anew if it clashes.
    pub(super) fn send_unless_it_clashes(&mut self, id: TransferId, now: Time) {
        let Some(transfer) = self.schedule.get(id) else { return };
        let Some(prepared) = transfer.prepared().copied() else { return };
        if self.versions.clash(&transfer.app, &prepared.version(), now).is_some() {
            self.versions.withdraw(&transfer.app, &prepared.version());
            self.fetched(id, prepared.candidate, now);
        } else {
            self.send(id, now);
        }
    }

    /// Another replica serves an app; with its claim, or with the version that it sends, if that is known.
    fn replica_serves(&mut self, instance: &str, app: &App, version: Option<Version>, is_claim: bool, now: Time) {
        let Some(replicas) = &mut self.replicas else { return };
        let open = self.schedule.open(app).and_then(|id| Some((id, self.schedule.get(id)?)));
        replicas.note(instance, now);
        let claimed = open.filter(|(_, open)| matches!(open.stage, Stage::Contested(..) | Stage::Sending { .. }));
        let claimed = claimed.map(|(id, _)| id);
        let has_lost_it = claimed.is_some() && is_claim && !replicas.has_lease(now);
        if has_lost_it {
            replicas.release(app);
        }
        if claimed.is_none() || has_lost_it {
            replicas.serves(instance, app, version.is_some(), now);
        }
        if let Some(id) = claimed.filter(|_| has_lost_it) {
            self.end(id, End::Yielded, now);
        }
        let Some(version) = version else { return };
        if is_claim && let Some(clash) = self.versions.clash(app, &version, now) {
            self.actions.push_back(Action::Object(app.clone(), clash));
        }
        self.note_version(app, version, now);
        // Progress comes every second; the claim and the end suffice on disk.
        if is_claim {
            self.persist_versions(app.clone(), None);
        }
    }

    fn note_version(&mut self, app: &App, version: Version, now: Time) {
        self.make_room(app, now);
        if !self.versions.note(app, version, now) {
            self.set_uncertain(now);
        }
    }
}
