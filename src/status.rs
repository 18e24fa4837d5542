//! What the proxy tells beside the answers: what becomes of each request, and that it is there.

mod presences;

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

pub use self::presences::{Presences, presences};
use crate::blob::Digest;
use crate::chunk::ChunkPlan;
use crate::clock::{Clock, Time};
use crate::error::{Class, Error};
use crate::link::Publisher;
use crate::sync::lock;
use crate::topic::{App, Channel, Layout, Role};

/// Requests that cannot be read of which a second is told: whoever sends more learns nothing new.
const UNREADABLE_PER_SECOND: u32 = 10;

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its turn to be fetched.
    Queued,
    /// Its module is being found and fetched.
    Fetching,
    /// Its chunks are being published.
    Sending,
    /// Every request for it is covered.
    Sent,
    /// It will not be delivered.
    Failed,
}

/// The message on the status topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The module as the devices named it; empty where the request could not be read.
    pub app_name: String,
    /// Where its delivery is.
    pub state: State,
    /// The digest of the module, once it is known.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The size that no chunk exceeds, bytes.
    pub chunk_size: Option<u32>,
    /// The number of chunks.
    pub total_chunks: Option<u64>,
    /// Chunks that were published and acknowledged.
    pub sent_chunks: u64,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The proxy that tells.
    pub instance: String,
    /// When, in UTC (RFC 3339).
    pub time: String,
}

impl Status {
    /// Why it failed, as [`Error::Reported`]; nothing if it has not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let Failure { code, message } = self.error.as_ref().filter(|_| self.state == State::Failed)?;
        let class = Class::ALL.iter().find(|class| class.code == code).copied();
        Some(Error::Reported { class, message: message.clone() })
    }
}

/// Why a delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A code of `docs/errors.md`.
    pub code: String,
    /// One line for people.
    pub message: String,
}

/// The message on the presence topic, retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the proxy is there.
    pub online: bool,
    /// Its version.
    pub version: String,
    /// Since when it is, or was, there, in UTC (RFC 3339).
    pub since: String,
}

impl Presence {
    /// The message of this proxy, as JSON.
    #[must_use]
    pub fn message(online: bool, since: Time) -> Vec<u8> {
        json(&Self { online, version: env!("CARGO_PKG_VERSION").into(), since: since.to_string() })
    }
}

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
    pub fn tell(&self, app: &App, state: State) {
        self.publish(app, state, None, 0, None);
    }

    /// Tells of a delivery whose module is known.
    pub fn tell_progress(&self, app: &App, state: State, digest: Digest, plan: &ChunkPlan, sent_chunks: u64) {
        self.publish(app, state, Some((digest, plan)), sent_chunks, None);
    }

    /// Tells that a delivery failed.
    pub fn tell_failure(&self, app: &App, error: &Error) {
        self.publish(app, State::Failed, None, 0, Some(error));
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
            self.publish(&app, State::Failed, None, 0, Some(error));
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
        state: State,
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
        if !publisher.post(&app.topic(Role::Status), json(&status).into(), false) {
            warn!(app_name = &*app.name, ?state, "not told on the status topic: too much waits for the broker");
        }
    }
}

/// Writes what has nothing in it that JSON cannot hold.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
