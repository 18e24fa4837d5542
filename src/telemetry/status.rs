//! Status messages: what becomes of each delivery, for devices and operators elsewhere.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tracing::warn;

use crate::delivery::rules::versions::Version;
use crate::error::{Error, shortened};
use crate::mqtt::Publisher;
use crate::mqtt::status::{DeliveryState, Failure, Status};
use crate::mqtt::topic::{App, Channel, Layout, Role};
use crate::util::clock::{Clock, Time};
use crate::util::sync::lock;
use crate::util::{int, json};

/// Status messages a second about requests that cannot be parsed.
#[doc(alias = "bound")]
const UNREADABLE_PER_SECOND: u32 = 10;

/// Characters of an error in a status message; of longer ones the middle is left out.
#[doc(alias = "bound")]
const MAX_MESSAGE: usize = 1024;

/// Publishes on the status topic. While the broker is away the messages wait, as far as the queue of the connection holds
/// them.
#[derive(Debug)]
pub(super) struct StatusPublisher {
    instance: String,
    clock: Clock,
    publisher: OnceLock<Publisher>,
    unreadable: Mutex<(Time, u32)>,
    /// When the last message was published.
    last: Mutex<Time>,
    /// Messages that were not published, and not counted in the log yet.
    lost: AtomicU64,
}

impl StatusPublisher {
    pub(super) fn new(instance: String, clock: Clock) -> Self {
        let (publisher, unreadable, last) = Default::default();
        Self { instance, clock, publisher, unreadable, last, lost: AtomicU64::new(0) }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// From now on it has a connection.
    pub(super) fn connect(&self, publisher: Publisher) {
        // It is connected once.
        let _ = self.publisher.set(publisher);
    }

    /// How long ago the last message was published.
    pub(super) fn silence(&self) -> Duration {
        self.clock.now().since(*lock(&self.last))
    }

    /// Publishes where a delivery is; with its version, once that is known.
    pub(super) fn publish(&self, app: &App, state: DeliveryState, version: Option<&Version>, sent_chunks: u64) {
        self.send(app, state, version, sent_chunks, None);
    }

    /// Publishes that a delivery failed.
    pub(super) fn publish_failure(&self, app: &App, error: &Error) {
        self.send(app, DeliveryState::Failed, None, 0, Some(error));
    }

    /// Says in the log how many messages were not published since the last call.
    pub(super) fn tell_lost(&self) {
        let messages = self.lost.swap(0, Relaxed);
        if messages > 1 {
            warn!(
                event = "statuses-not-published",
                messages = int(messages),
                "statuses were not published: too many messages waited for the broker"
            );
        }
    }

    /// Publishes that a request could not be read, unless there are too many.
    pub(super) fn publish_unreadable(&self, channel: &Channel, layout: Layout, error: &Error) {
        let now = self.clock.now();
        let mut unreadable = lock(&self.unreadable);
        if now.since(unreadable.0) >= Duration::from_secs(1) {
            *unreadable = (now, 0);
        }
        unreadable.1 += 1;
        if unreadable.1 <= UNREADABLE_PER_SECOND {
            let app = App { channel: channel.clone().into(), layout, name: "".into() };
            self.publish_failure(&app, error);
        }
    }

    /// Publishes a status. Its error has a bound, so that a replica reads it, whatever the name that it repeats.
    fn send(
        &self,
        app: &App,
        state: DeliveryState,
        version: Option<&Version>,
        sent_chunks: u64,
        error: Option<&Error>,
    ) {
        let Some(publisher) = self.publisher.get() else { return };
        *lock(&self.last) = self.clock.now();
        let status = Status {
            app_name: app.name.to_string(),
            state,
            digest: version.map(|version| version.digest),
            size: version.map(|version| version.plan.size()),
            chunk_size: version.map(|version| version.plan.chunk_size().get()),
            total_chunks: version.map(|version| version.plan.total_chunks()),
            sent_chunks,
            error: error.map(|error| Failure {
                code: error.code().into(),
                message: shortened(&error.to_string(), MAX_MESSAGE).into_owned(),
            }),
            instance: self.instance.clone(),
            time: Time::of_system().to_string(),
        };
        if !publisher.try_publish(&app.topic(Role::Status), json(&status).into(), false) {
            let is_first = self.lost.fetch_add(1, Relaxed) == 0;
            if is_first {
                warn!(
                    event = "statuses-not-published",
                    "a status was not published: too many messages wait for the broker"
                );
            }
        }
    }
}
