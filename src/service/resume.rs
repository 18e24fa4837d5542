//! What goes on from an earlier process, and how much of it may be unknown.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::deliveries::Deliveries;
use super::{MAX_REQUEST_AGE, Purpose, Service};
use crate::error::Error;
use crate::mqtt::Health;
use crate::state::{Left, OpenRequest};
use crate::util::clock::Time;
use crate::util::sync::lock;

impl Service {
    /// Takes up what an earlier process left; returns when that was last there.
    pub(super) fn resume(self: &Arc<Self>, deliveries: &mut Deliveries<'_>) -> Option<Time> {
        let Left { requests, versions, unsure_until, present, .. } = std::mem::take(&mut *lock(&self.left));
        let now = self.clock.now();
        lock(&self.versions).be_unsure_until(unsure_until);
        if self.group.is_some() {
            // What the others told meanwhile was not heard.
            self.be_unsure();
        }
        let mut begun = Vec::new();
        for (app, versions) in versions {
            if lock(&self.versions).restore(app.clone(), versions, now) {
                begun.push(app);
            }
        }
        for app in lock(&self.versions).forget(now) {
            self.state.note_versions(app, Vec::new());
        }
        // They are those of devices, which only the proxy itself serves.
        let requests = if self.takes_requests { requests } else { Vec::new() };
        for (id, OpenRequest { app, arrived }) in requests {
            if now.since(arrived) >= MAX_REQUEST_AGE {
                let reason = "it was open when the proxy ended, and the proxy was away for too long";
                self.state.close_requests(vec![id]);
                self.turn_away(&app, &Error::TooLate { app_name: app.name.to_string(), reason });
                continue;
            }
            info!(event = "resumed", app_name = &*app.name, age = now.since(arrived).as_secs_f64(), "resumed");
            let purpose = if begun.contains(&app) { Purpose::Resume } else { Purpose::Request };
            self.admit(id, &app, arrived, purpose, deliveries);
        }
        present
    }

    /// There may be chunks in devices of which this proxy knows nothing.
    pub(super) fn be_unsure(&self) {
        let until = lock(&self.versions).be_unsure(self.clock.now());
        self.state.be_unsure(until);
    }

    /// How long the proxy was away before its subscription came up last; nothing if nobody knows.
    pub(super) fn away(&self, present: Option<Time>, requests: Health) -> Option<Duration> {
        match requests.connections {
            0 | 1 => present.map(|present| self.clock.now().since(present)),
            _ => Some(requests.down_time),
        }
    }
}
