//! What the proxy tells beside the answers: what becomes of each request, and that it is there.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tracing::warn;

use crate::delivery::plan::ChunkPlan;
use crate::error::Error;
use crate::mqtt::Publisher;
use crate::mqtt::status::{DeliveryState, Failure, Status};
use crate::mqtt::topic::{App, Channel, Layout, Role};
use crate::oci::digest::Digest;
use crate::util::clock::{Clock, Time};
use crate::util::json;
use crate::util::sync::lock;

/// Requests that cannot be read of which a second is told: whoever sends more learns nothing new.
const UNREADABLE_PER_SECOND: u32 = 10;

/// Tells on the status topic. What cannot be told because the broker is away is told when it is back, as far as the queue
/// of the link holds it.
#[derive(Debug)]
pub struct Reporter {
    instance: String,
    clock: Clock,
    publisher: OnceLock<Publisher>,
    unreadable: Mutex<(Time, u32)>,
    /// When something was told last.
    last: Mutex<Time>,
}

impl Reporter {
    /// A reporter for the proxy called `instance`.
    #[must_use]
    pub fn new(instance: String, clock: Clock) -> Self {
        let (publisher, unreadable, last) = Default::default();
        Self { instance, clock, publisher, unreadable, last }
    }

    /// From now on it has a link.
    pub fn connect(&self, publisher: Publisher) {
        // It is connected once.
        let _ = self.publisher.set(publisher);
    }

    /// Tells that a delivery is waiting or fetching.
    pub fn tell(&self, app: &App, state: DeliveryState) {
        self.publish(app, state, None, 0, None);
    }

    /// Tells of a delivery whose module is known.
    pub fn tell_progress(&self, app: &App, state: DeliveryState, digest: Digest, plan: &ChunkPlan, sent_chunks: u64) {
        self.publish(app, state, Some((digest, plan)), sent_chunks, None);
    }

    /// Tells that a delivery failed.
    pub fn tell_failure(&self, app: &App, error: &Error) {
        self.publish(app, DeliveryState::Failed, None, 0, Some(error));
    }

    /// Tells that a request could not be read, unless there are too many.
    pub fn tell_unreadable(&self, channel: &Channel, layout: Layout, error: &Error) {
        let now = self.clock.now();
        let mut unreadable = lock(&self.unreadable);
        if now.since(unreadable.0) >= Duration::from_secs(1) {
            *unreadable = (now, 0);
        }
        unreadable.1 += 1;
        if unreadable.1 <= UNREADABLE_PER_SECOND {
            let app = App { channel: channel.clone().into(), layout, name: "".into() };
            self.publish(&app, DeliveryState::Failed, None, 0, Some(error));
        }
    }

    /// How long ago something was told last.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.clock.now().since(*lock(&self.last))
    }

    fn publish(
        &self,
        app: &App,
        state: DeliveryState,
        module: Option<(Digest, &ChunkPlan)>,
        sent_chunks: u64,
        error: Option<&Error>,
    ) {
        let Some(publisher) = self.publisher.get() else { return };
        let now = self.clock.now();
        *lock(&self.last) = now;
        let status = Status {
            app_name: app.name.to_string(),
            state,
            digest: module.map(|(digest, _)| digest),
            size: module.map(|(_, plan)| plan.size()),
            chunk_size: module.map(|(_, plan)| plan.chunk_size().get()),
            total_chunks: module.map(|(_, plan)| plan.total_chunks()),
            sent_chunks,
            error: error.map(|error| Failure { code: error.code().into(), message: error.to_string() }),
            instance: self.instance.clone(),
            time: now.to_string(),
        };
        if !publisher.try_publish(&app.topic(Role::Status), json(&status).into(), false) {
            warn!(app_name = &*app.name, ?state, "not told on the status topic: too much waits for the broker");
        }
    }
}
