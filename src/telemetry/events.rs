//! What becomes of deliveries, for whoever watches or waits inside this process.
//!
//! Devices and operators elsewhere are told by [`crate::telemetry::status`].

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{broadcast, oneshot};

use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::schedule::RequestId;
use crate::error::Error;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::metrics::{self, Meters};
use crate::util::sync::lock;

/// Events that a watcher may be behind; older ones it misses.
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
    /// The module is being found and fetched.
    Fetching,
    /// The module is on disk, and its size and digest are as they should be.
    Fetched {
        /// Its digest.
        digest: Digest,
        /// Its size, bytes.
        size: u64,
    },
    /// It is WebAssembly, and how it is cut is settled.
    Verified {
        /// Its digest.
        digest: Digest,
        /// How it is cut.
        plan: ChunkPlan,
    },
    /// A chunk was handed to the link.
    Published {
        /// The chunk.
        index: u64,
        /// The size of its message, bytes.
        size: usize,
    },
    /// The broker has a chunk.
    Acknowledged {
        /// The chunk.
        index: u64,
        /// The size of its message, bytes.
        size: usize,
    },
    /// Every request for it is covered.
    Sent(Report),
    /// It was sent again to devices that may have missed it.
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
    /// How long finding, fetching and checking the module took.
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
    /// Requests and transfers that failed; what was withdrawn is none of them.
    pub failed: u64,
    /// Modules that were sent again to devices that may have missed them.
    pub repeated: u64,
    /// Chunks handed to the link.
    pub published_chunks: u64,
    /// The size of their messages, bytes.
    pub published_bytes: u64,
    /// Chunks that the broker has.
    pub acknowledged_chunks: u64,
    /// Times the proxy came to be connected and subscribed.
    pub connections: u64,
}

/// Tells watchers what happens, and those who ask inside this process how it ended.
#[derive(Debug, Default)]
pub struct Journal {
    /// Made for the first watcher, since it takes its memory at once.
    events: OnceLock<broadcast::Sender<Event>>,
    stats: Mutex<Stats>,
    meters: Meters,
    asked: Mutex<HashMap<RequestId, Asked>>,
}

/// Since when somebody in this process waits, and how to answer.
#[derive(Debug)]
struct Asked {
    begun: Instant,
    answer: oneshot::Sender<Result<Report, Error>>,
}

impl Journal {
    /// Notes what happened to `app`.
    pub fn note(&self, app: &App, what: What) {
        self.count(&what);
        // Chunks are many, and mostly nobody watches.
        if self.events.get().is_some_and(|events| events.receiver_count() > 0) {
            self.send(Some(app.clone()), what);
        }
    }

    /// Notes what happened to the proxy.
    pub fn note_proxy(&self, what: What) {
        self.count(&what);
        self.send(None, what);
    }

    /// What happens from now on. A watcher that is [`MAX_BACKLOG`] events behind misses the oldest.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.get_or_init(|| broadcast::Sender::new(MAX_BACKLOG)).subscribe()
    }

    /// How often things happened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *lock(&self.stats)
    }

    /// Somebody in this process waits for what becomes of a request.
    pub(crate) fn expect(&self, request: RequestId) -> oneshot::Receiver<Result<Report, Error>> {
        let (answer, answered) = oneshot::channel();
        lock(&self.asked).insert(request, Asked { begun: Instant::now(), answer });
        answered
    }

    /// Whether somebody still waits for it.
    pub(crate) fn is_expected(&self, request: RequestId) -> bool {
        lock(&self.asked).contains_key(&request)
    }

    /// Nobody will answer any more: all who wait are told so.
    pub(crate) fn close(&self) {
        lock(&self.asked).clear();
    }

    /// Nobody waits for it any more. Returns whether it was not answered yet.
    pub(crate) fn forget(&self, request: RequestId) -> bool {
        let is_open = lock(&self.asked).remove(&request).is_some();
        if is_open {
            metrics::requests("withdrawn").increment(1);
        }
        is_open
    }

    /// Requests are covered. What was sent before one of them came is not counted as its time.
    pub(crate) fn served(&self, requests: &[RequestId], report: &Report) {
        self.meters.sent_requests.increment(requests.len() as u64);
        self.answer(requests, |asked| {
            let elapsed = asked.elapsed();
            let sending = report.sending.min(elapsed);
            Ok(Report { sending, fetching: elapsed.saturating_sub(sending), ..report.clone() })
        });
    }

    /// Requests will not be served. Returns how many of them somebody in this process has asked.
    pub(crate) fn given_up(&self, requests: &[RequestId], error: &Error) -> usize {
        metrics::requests(error.code()).increment(requests.len() as u64);
        self.answer(requests, |_| Err(error.clone()))
    }

    fn answer(&self, requests: &[RequestId], outcome: impl Fn(Instant) -> Result<Report, Error>) -> usize {
        let mut all = lock(&self.asked);
        let asked: Vec<_> = requests.iter().filter_map(|request| all.remove(request)).collect();
        let count = asked.len();
        for Asked { begun, answer } in asked {
            // Whoever waited for it may be gone already.
            let _ = answer.send(outcome(begun));
        }
        count
    }

    fn send(&self, app: Option<App>, what: What) {
        if let Some(events) = self.events.get() {
            // Fails if nobody watches.
            let _ = events.send(Event { time: SystemTime::now(), app, what });
        }
    }

    fn count(&self, what: &What) {
        let (mut stats, meters) = (lock(&self.stats), &self.meters);
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
