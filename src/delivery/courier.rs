//! The courier: takes chunks in the order of the schedule, sends them, and sees them acknowledged.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot};
use tracing::info;

use super::buffers::Buffers;
use super::schedule::{Admission, Completed, Schedule, TransferId, TransferKey, Turn};
use super::{MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_MESSAGES, MAX_TRANSFERS};
use crate::blob::Blob;
use crate::chunk::ChunkPlan;
use crate::error::Error;
use crate::link::{Acknowledgement, Publisher};
use crate::sync::lock;
use crate::wire::Encoder;

/// How often the progress of a transfer is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// What it took to cover all requests of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Requests served.
    pub requests: u64,
    /// Chunks of the module.
    pub total_chunks: u64,
    /// Chunks published and acknowledged, those for late joiners included.
    pub sent_chunks: u64,
}

/// Sends all transfers over one link.
#[derive(Debug)]
pub struct Courier {
    schedule: Mutex<Schedule<Arc<Outgoing>>>,
    /// Notified when the schedule may have got a turn.
    work: Notify,
    buffers: Buffers,
}

/// What it takes to send any chunk of one transfer.
#[derive(Debug)]
struct Outgoing {
    key: TransferKey,
    blob: Blob,
    plan: ChunkPlan,
    encoder: Encoder,
    /// Taken with the result of the transfer.
    result: Mutex<Option<oneshot::Sender<Result<Sent, Error>>>>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    acknowledged: u64,
    logged: Instant,
}

impl Default for Courier {
    fn default() -> Self {
        Self { schedule: Mutex::new(Schedule::new(MAX_TRANSFERS)), work: Notify::new(), buffers: Buffers::default() }
    }
}

impl Courier {
    /// Takes in a request: it opens a transfer, joins the open one, or is turned away.
    pub fn request(&self, key: &TransferKey) -> Admission {
        let admission = self.schedule().request(key);
        self.work.notify_one();
        admission
    }

    /// Sends the chunks of `blob` until every request of the transfer is covered.
    ///
    /// # Errors
    /// [`Error::Disk`] if the blob cannot be read, [`Error::Stopping`] if the courier ends before the transfer does.
    pub async fn send(&self, id: TransferId, key: TransferKey, blob: Blob, plan: ChunkPlan) -> Result<Sent, Error> {
        let total_chunks = plan.total_chunks();
        let app_name = key.app_name.to_string();
        let (result, finished) = oneshot::channel();
        let outgoing = Arc::new(Outgoing {
            encoder: Encoder::new(&key.app_name, total_chunks),
            key,
            blob,
            plan,
            result: Mutex::new(Some(result)),
            progress: Mutex::new(Progress { acknowledged: 0, logged: Instant::now() }),
        });
        self.schedule().start(id, total_chunks, outgoing);
        self.work.notify_one();
        finished.await.unwrap_or(Err(Error::Stopping { app_name }))
    }

    /// Gives a transfer up, if it is still open.
    pub fn abandon(&self, id: TransferId) {
        self.schedule().abandon(id);
    }

    /// Does the sending until the link is closed, with at most [`MAX_IN_FLIGHT_MESSAGES`] and about
    /// [`MAX_IN_FLIGHT_BYTES`] on their way.
    pub async fn run(&self, publisher: &Publisher) {
        let mut in_flight = FuturesUnordered::new();
        let mut in_flight_bytes = 0;
        loop {
            let room = in_flight.len() < usize::from(MAX_IN_FLIGHT_MESSAGES) && in_flight_bytes < MAX_IN_FLIGHT_BYTES;
            tokio::select! {
                biased;
                Some((turn, size, outcome)) = in_flight.next() => {
                    in_flight_bytes -= size;
                    match outcome {
                        Acknowledgement::Received => self.acknowledged(&turn),
                        Acknowledgement::Lost => self.lost(&turn),
                        Acknowledgement::LinkClosed => return,
                    }
                }
                turn = self.next_turn(publisher), if room => match turn.load.message(turn.index, &self.buffers).await {
                    Ok(message) => {
                        let size = message.len();
                        in_flight_bytes += size;
                        let outcome = publisher.publish(&turn.load.key.topic, message).await;
                        in_flight.push(async move { (turn, size, outcome.await) });
                    }
                    Err(error) => {
                        self.abandon(turn.id);
                        turn.load.finish(Err(error));
                    }
                }
            }
        }
    }

    async fn next_turn(&self, publisher: &Publisher) -> Turn<Arc<Outgoing>> {
        loop {
            publisher.ready().await;
            // Bound to a name so that the schedule is not locked across the wait.
            let turn = self.schedule().next_turn();
            match turn {
                Some(turn) => return turn,
                None => self.work.notified().await,
            }
        }
    }

    fn acknowledged(&self, turn: &Turn<Arc<Outgoing>>) {
        turn.load.log_progress();
        let completed = self.schedule().acknowledged(turn.id, turn.position);
        if let Some(Completed { load, requests, sent_chunks }) = completed {
            load.finish(Ok(Sent { requests, total_chunks: load.plan.total_chunks(), sent_chunks }));
        }
    }

    fn lost(&self, turn: &Turn<Arc<Outgoing>>) {
        self.schedule().lost(turn.id, turn.position);
        self.work.notify_one();
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Arc<Outgoing>>> {
        lock(&self.schedule)
    }
}

impl Outgoing {
    /// Reads and encodes one chunk, off the async threads.
    async fn message(self: &Arc<Self>, index: u64, buffers: &Buffers) -> Result<Bytes, Error> {
        let outgoing = Arc::clone(self);
        let (mut data, mut message) = (buffers.borrow(), buffers.borrow());
        let encoded = tokio::task::spawn_blocking(move || {
            let (offset, length) = outgoing.plan.chunk(index);
            data.bytes.resize(length as usize, 0);
            outgoing.blob.read_at(&mut data.bytes, offset)?;
            outgoing.encoder.encode(index, &data.bytes, &mut message.bytes);
            Ok(message.freeze())
        });
        encoded.await.map_err(io::Error::other).flatten().map_err(|source| self.blob.unreadable(source))
    }

    fn finish(&self, result: Result<Sent, Error>) {
        if let Some(sender) = lock(&self.result).take() {
            // Whoever waited for it may be gone already.
            let _ = sender.send(result);
        }
    }

    fn log_progress(&self) {
        let mut progress = lock(&self.progress);
        progress.acknowledged += 1;
        if progress.logged.elapsed() >= PROGRESS_INTERVAL {
            progress.logged = Instant::now();
            let (app_name, total_chunks) = (&*self.key.app_name, self.plan.total_chunks());
            info!(app_name, acknowledged_chunks = progress.acknowledged, total_chunks, "sending");
        }
    }
}
