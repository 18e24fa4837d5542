//! The coordinator as a member of a group of replicas: claims, objections, what other replicas serve.

use std::time::Duration;

use super::action::{Action, End};
use super::coordinator::Coordinator;
use super::transfer::Stage;
use super::versions::Version;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// How long a replica that may not know all versions waits for objections to its claim.
#[doc(alias = "bound")]
const OBJECTION_TIME: Duration = Duration::from_millis(500);

impl<W> Coordinator<W> {
    /// This replica received its own claim back.
    pub fn claim_returned(&mut self, app: &App, claim: &Version, now: Time) {
        let Some(id) = self.schedule.open(app) else { return };
        let Some(transfer) = self.schedule.get_mut(id) else { return };
        let Stage::Claiming(prepared, _) = transfer.stage else { return };
        if (prepared.candidate.digest, prepared.plan) != (claim.digest, claim.plan) {
            return;
        }
        if self.replicas.as_ref().is_some_and(|replicas| replicas.is_claimed(app, now)) {
            self.end(id, End::Yielded, now);
        } else if self.versions.is_uncertain(now) && prepared.plan.total_chunks() > 1 {
            transfer.stage = Stage::Contested(prepared, now + OBJECTION_TIME);
        } else {
            self.send(id, now);
        }
    }

    /// Another replica serves an app; with its claim, or with the version that it sends, if that is known.
    pub fn replica_serves(&mut self, instance: &str, app: &App, version: Option<Version>, is_claim: bool, now: Time) {
        let Some(replicas) = &mut self.replicas else { return };
        replicas.serves(instance, app, version.is_some(), now);
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

    /// Another replica knows this version of an app.
    pub fn replica_objects(&mut self, app: &App, version: Version, now: Time) {
        if self.replicas.is_some() {
            self.note_version(app, version, now);
            self.persist_versions(app.clone(), None);
        }
    }

    /// Another replica ended its transfer of an app.
    pub fn replica_ended(&mut self, instance: &str, app: &App, version: Option<Version>, now: Time) {
        let Some(replicas) = &mut self.replicas else { return };
        let served = replicas.ended(instance, app, now);
        self.forget(&served);
        if let Some(version) = version {
            self.note_version(app, version, now);
            self.persist_versions(app.clone(), None);
        }
    }

    /// Whether it remembers another version of `app` in as many chunks.
    #[cfg(test)]
    pub(super) fn has_clash(&self, app: &App, version: &Version, now: Time) -> bool {
        self.versions.clash(app, version, now).is_some()
    }

    fn note_version(&mut self, app: &App, version: Version, now: Time) {
        if self.versions.note(app, version, now).is_err() {
            self.set_uncertain(now);
        }
    }
}
