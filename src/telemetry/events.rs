//! Events inside this process, and how often each happened.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use crate::delivery::plan::ChunkPlan;
use crate::error::Error;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::metrics::Meters;
use crate::util::sync::lock;

/// Events that a subscriber may be behind; it misses older ones.
#[doc(alias = "bound")]
pub const MAX_BACKLOG: usize = 1 << 14;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// To which app; none if it was about the proxy.
    pub app: Option<App>,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone)]
pub enum What {
    /// The proxy is connected and subscribed.
    Connected,
    /// The proxy has lost the broker.
    Disconnected,
    /// A request opened a transfer.
    Requested,
    /// A request joined the running transfer.
    Joined {
        /// The requests that are open with it.
        requests: usize,
    },
    /// The module is being resolved and fetched.
    Fetching,
    /// The module is on disk, and its size and digest are as they should be.
    Fetched {
        /// Its digest.
        digest: Digest,
        /// Its size, bytes.
        size: u64,
    },
    /// It is WebAssembly, and how it is cut is decided.
    Verified {
        /// Its digest.
        digest: Digest,
        /// How it is cut.
        plan: ChunkPlan,
    },
    /// A chunk was handed to the connection.
    Published {
        /// The chunk.
        index: u64,
        /// The size of its message, bytes.
        size: usize,
    },
    /// The broker acknowledged a chunk.
    Acknowledged {
        /// The chunk.
        index: u64,
        /// The size of its message, bytes.
        size: usize,
    },
    /// Every request for it is covered.
    Sent(Report),
    /// It was repeated for devices that may have missed it.
    Repeated(Report),
    /// It will not be delivered.
    Failed(Error),
}

/// A delivery that reached the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The SHA-256 of the module.
    pub digest: Digest,
    /// How it was cut.
    pub plan: ChunkPlan,
    /// Requests that the transfer has served.
    pub requests: u64,
    /// Chunks that were published and acknowledged, those for late joiners included.
    pub sent_chunks: u64,
    /// The size of their messages, bytes.
    pub sent_bytes: u64,
    /// How long resolving, fetching and verifying the module took.
    pub fetching: Duration,
    /// How long it has taken from the first chunk to the last acknowledgement.
    pub sending: Duration,
}

/// How often things happened since the proxy was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that opened or joined a transfer.
    pub requests: u64,
    /// Those that joined one.
    pub joined: u64,
    /// Transfers that covered all their requests.
    pub delivered: u64,
    /// Requests and transfers that failed; those that were withdrawn are not counted.
    pub failed: u64,
    /// Modules that were repeated for devices that may have missed them.
    pub repeated: u64,
    /// Chunks handed to the connection.
    pub published_chunks: u64,
    /// The size of their messages, bytes.
    pub published_bytes: u64,
    /// Chunks that the broker acknowledged.
    pub acknowledged_chunks: u64,
    /// How often the proxy became connected and subscribed.
    pub connections: u64,
}

/// Counts what happens, and sends it to watchers.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Made for the first watcher, since it allocates its memory at once.
    watchers: OnceLock<broadcast::Sender<Event>>,
    stats: Mutex<Stats>,
}

impl Events {
    /// Counts what happened to `app`, or to the proxy, and sends it.
    pub(super) fn note(&self, app: Option<&App>, what: What, meters: &Meters) {
        self.count(&what, meters);
        // Chunks are many, and mostly nobody watches.
        if let Some(watchers) = self.watchers.get().filter(|watchers| watchers.receiver_count() > 0) {
            // Fails if the last watcher has gone meanwhile.
            let _ = watchers.send(Event { time: SystemTime::now(), app: app.cloned(), what });
        }
    }

    /// What happens from now on. A watcher that is [`MAX_BACKLOG`] events behind misses the oldest.
    pub(super) fn watch(&self) -> broadcast::Receiver<Event> {
        self.watchers.get_or_init(|| broadcast::Sender::new(MAX_BACKLOG)).subscribe()
    }

    /// How often things happened.
    pub(super) fn stats(&self) -> Stats {
        *lock(&self.stats)
    }

    fn count(&self, what: &What, meters: &Meters) {
        let mut stats = lock(&self.stats);
        match what {
            What::Connected => {
                stats.connections += 1;
                meters.broker_connections.increment(1);
                meters.broker_connected.set(1);
            }
            What::Disconnected => meters.broker_connected.set(0),
            What::Requested => stats.requests += 1,
            What::Joined { .. } => {
                stats.requests += 1;
                stats.joined += 1;
                meters.joins.increment(1);
            }
            What::Published { size, .. } => {
                stats.published_chunks += 1;
                stats.published_bytes += *size as u64;
                meters.published_chunks.increment(1);
                meters.published_bytes.increment(*size as u64);
            }
            What::Acknowledged { index, .. } => {
                stats.acknowledged_chunks += 1;
                meters.acknowledged_chunks.increment(1);
                // Each position is acknowledged once, however often it was sent.
                meters.passes.increment(u64::from(*index == 0));
            }
            What::Sent(_) => stats.delivered += 1,
            What::Repeated(_) => {
                stats.repeated += 1;
                meters.repeats.increment(1);
            }
            What::Failed(error) if !matches!(error, Error::Withdrawn { .. }) => stats.failed += 1,
            What::Failed(_) | What::Fetching | What::Fetched { .. } | What::Verified { .. } => {}
        }
    }
}
