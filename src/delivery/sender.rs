//! The courier: takes chunks in the order of the schedule, sends them, and sees them acknowledged.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot};
use tracing::span::Id;
use tracing::{Span, info};

use super::MAX_IN_FLIGHT_MESSAGES;
use super::buffers::Buffers;
use super::rules::schedule::{Admission, Covered, Cut, Excess, Limits, RequestId, Schedule, Start, TransferId, Turn};
use super::waits::Waits;
use crate::delivery::plan::ChunkPlan;
use crate::error::Error;
use crate::mqtt::chunk::Encoder;
use crate::mqtt::status;
use crate::mqtt::topic::{App, Role};
use crate::mqtt::{Acknowledgement, Publisher};
use crate::oci::blob::Blob;
use crate::state::State;
use crate::telemetry::events::{Journal, Report, What};
use crate::telemetry::status::Reporter;
use crate::util::clock::{Clock, Time};
use crate::util::fields::int;
use crate::util::metrics::{self, Meters};
use crate::util::sync::lock;

/// How often the progress of a transfer is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A module that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its bytes.
    pub blob: Blob,
    /// How it is cut.
    pub plan: ChunkPlan,
    /// Whether nobody asked for it: that is not told.
    pub is_repeat: bool,
    /// When its delivery began.
    pub begun: Instant,
}

/// Sends all transfers over one link.
#[derive(Debug)]
pub struct Sender {
    schedule: Mutex<Schedule<Arc<Outgoing>>>,
    /// Notified when the schedule may have got a turn.
    work: Notify,
    /// Notified when the schedule may have got an alarm.
    alarm: Notify,
    buffers: Buffers,
    clock: Clock,
    state: Arc<State>,
    reporter: Arc<Reporter>,
    journal: Arc<Journal>,
    limits: Limits,
    waits: Mutex<Waits>,
    meters: Meters,
}

/// What it takes to send any chunk of one transfer.
#[derive(Debug)]
struct Outgoing {
    app: App,
    topic: String,
    blob: Blob,
    plan: ChunkPlan,
    is_repeat: bool,
    encoder: Encoder,
    /// Taken with the result of the transfer; dropped with it when a newer one takes over.
    result: Mutex<Option<oneshot::Sender<Result<Report, Error>>>>,
    fetching: Duration,
    begun: Instant,
    progress: Mutex<Progress>,
    /// The span that its progress belongs to, which does not last longer for this.
    span: Option<Id>,
}

#[derive(Debug)]
struct Progress {
    acknowledged: u64,
    acknowledged_bytes: u64,
    told: Time,
}

impl Sender {
    /// A courier without transfers.
    #[must_use]
    pub fn new(
        limits: Limits,
        clock: Clock,
        state: Arc<State>,
        reporter: Arc<Reporter>,
        journal: Arc<Journal>,
    ) -> Self {
        Self {
            schedule: Mutex::new(Schedule::new(limits)),
            work: Notify::new(),
            alarm: Notify::new(),
            buffers: Buffers::default(),
            clock,
            state,
            reporter,
            journal,
            limits,
            waits: Mutex::default(),
            meters: Meters::default(),
        }
    }

    /// Takes in a request: it opens a transfer, joins the open one, or is turned away.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::OverBudget`].
    pub fn request(&self, app: &App, request: RequestId, arrived: Time) -> Result<Admission, Error> {
        // Before its first chunk can be sent.
        lock(&self.waits).begin(request, arrived);
        let admission = self.schedule().request(app, request, arrived, self.clock.now());
        self.work.notify_one();
        admission.map_err(|excess| {
            lock(&self.waits).give_up(&[request]);
            self.refusal(app, excess)
        })
    }

    /// Sends the chunks of `blob` until every request of the transfer is covered. `None` if that is no longer wanted,
    /// because a newer transfer took over.
    ///
    /// # Errors
    /// [`Error::Disk`] if the blob cannot be read, [`Error::OverBudget`] if its channel has had enough.
    pub async fn send(&self, id: TransferId, app: &App, module: Module) -> Result<Option<Report>, Error> {
        let Module { blob, plan, is_repeat, begun } = module;
        let (result, finished) = oneshot::channel();
        let encoder = Encoder::new(&app.name, plan.total_chunks());
        let message_size = encoder.message_size(plan.chunk(0).1) as u64;
        let outgoing = Arc::new(Outgoing {
            topic: app.topic(Role::Answer),
            app: app.clone(),
            encoder,
            blob,
            plan,
            is_repeat,
            result: Mutex::new(Some(result)),
            fetching: begun.elapsed(),
            begun: Instant::now(),
            progress: Mutex::new(Progress { acknowledged: 0, acknowledged_bytes: 0, told: self.clock.now() }),
            span: Span::current().id(),
        });
        let cut = Cut { total_chunks: plan.total_chunks(), message_size, module_size: plan.size() };
        match self.schedule().start(id, cut, outgoing, self.clock.now()) {
            Start::Sending => self.work.notify_one(),
            Start::Gone => return Ok(None),
            Start::Refused(excess) => return Err(self.refusal(app, excess)),
        }
        finished.await.ok().transpose()
    }

    /// Gives a transfer up, if it is still open; returns its open requests.
    pub fn abandon(&self, id: TransferId) -> Vec<RequestId> {
        let requests = self.schedule().abandon(id);
        lock(&self.waits).give_up(&requests);
        requests
    }

    /// Takes a request back, and gives its transfer up if nobody wants that: returns it then.
    pub fn withdraw(&self, request: RequestId) -> Option<TransferId> {
        lock(&self.waits).give_up(&[request]);
        self.schedule().withdraw(request)
    }

    /// The link is up again after `outage`; returns how many transfers will be covered again.
    pub fn recover(&self, outage: Duration) -> usize {
        let count = self.schedule().recover(outage, self.clock.now());
        self.alarm.notify_one();
        count
    }

    /// Waits until transfers are to be repeated, and returns them.
    pub async fn repeats(&self) -> Vec<(TransferId, App)> {
        loop {
            let now = self.clock.now();
            let next = self.schedule().next_alarm();
            tokio::select! {
                () = sleep_until(next, now) => {}
                () = self.alarm.notified() => continue,
            }
            let repeats = self.schedule().wake(self.clock.now());
            self.work.notify_one();
            if !repeats.is_empty() {
                return repeats;
            }
        }
    }

    /// Whether requests for `app` are open here.
    pub fn is_open(&self, app: &App) -> bool {
        self.schedule().is_open(app)
    }

    /// The number of apps with open requests.
    pub fn open_transfers(&self) -> usize {
        self.schedule().open_apps().count()
    }

    /// Measures what is open.
    pub(crate) fn measure(&self) {
        let schedule = self.schedule();
        metrics::set(&self.meters.open_requests, schedule.open_requests() as u64);
        metrics::set(&self.meters.open_transfers, schedule.open_apps().count() as u64);
    }

    /// How many chunks of `app` were acknowledged so far, those for late joiners included, and how many it has; `None`
    /// if it is not being sent.
    pub fn progress(&self, app: &App) -> Option<(u64, u64)> {
        let outgoing = Arc::clone(self.schedule().load(app)?);
        let acknowledged = lock(&outgoing.progress).acknowledged;
        Some((acknowledged, outgoing.plan.total_chunks()))
    }

    /// Some app with open requests.
    pub fn any_open(&self) -> Option<App> {
        self.schedule().open_apps().next().cloned()
    }

    /// Does the sending until the link is closed, with at most [`MAX_IN_FLIGHT_MESSAGES`] and about `max_in_flight`
    /// bytes on their way.
    pub async fn run(&self, publisher: &Publisher, max_in_flight: usize) {
        let mut in_flight = FuturesUnordered::new();
        let mut in_flight_bytes = 0;
        loop {
            let room = in_flight.len() < usize::from(MAX_IN_FLIGHT_MESSAGES) && in_flight_bytes < max_in_flight;
            tokio::select! {
                biased;
                Some((turn, size, begun, outcome)) = in_flight.next() => {
                    in_flight_bytes -= size;
                    metrics::set(&self.meters.in_flight_bytes, in_flight_bytes as u64);
                    match outcome {
                        Acknowledgement::Received => {
                            self.meters.acknowledgement.record(Instant::elapsed(&begun));
                            self.acknowledged(&turn, size);
                        }
                        Acknowledgement::Lost => self.lost(&turn),
                        Acknowledgement::Closed => return,
                    }
                }
                turn = self.next_turn(publisher), if room => match turn.load.message(turn.index, &self.buffers).await {
                    Ok(message) => {
                        let size = message.len();
                        in_flight_bytes += size;
                        metrics::set(&self.meters.in_flight_bytes, in_flight_bytes as u64);
                        let begun = Instant::now();
                        let outcome = publisher.publish(&turn.load.topic, message).await;
                        self.journal.note(&turn.load.app, What::Published { index: turn.index, size });
                        in_flight.push(async move { (turn, size, begun, outcome.await) });
                    }
                    Err(error) => turn.load.finish(Err(error)),
                }
            }
        }
    }

    async fn next_turn(&self, publisher: &Publisher) -> Turn<Arc<Outgoing>> {
        loop {
            publisher.ready().await;
            let now = self.clock.now();
            let free_at = {
                let mut schedule = self.schedule();
                match schedule.next_turn(now) {
                    Some(turn) => return turn,
                    None => schedule.free_at(),
                }
            };
            // What is held back has an alarm.
            self.alarm.notify_one();
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(free_at, now) => {}
            }
        }
    }

    fn acknowledged(&self, turn: &Turn<Arc<Outgoing>>, size: usize) {
        let now = self.clock.now();
        self.journal.note(&turn.load.app, What::Acknowledged { index: turn.index, size });
        turn.load.tell_progress(&self.reporter, size, now);
        let covered = {
            let mut schedule = self.schedule();
            for request in schedule.begun_at(turn.id, turn.position) {
                lock(&self.waits).first_chunk(request, now);
            }
            schedule.acknowledged(turn.id, turn.position, now)
        };
        if let Some(Covered { load, requests, served, is_complete }) = covered {
            lock(&self.waits).last_chunk(&requests, now);
            let report = load.report(served);
            if is_complete {
                let what = if load.is_repeat { What::Repeated } else { What::Sent };
                self.journal.note(&load.app, what(report.clone()));
            }
            if !requests.is_empty() {
                self.journal.served(&requests, &report);
                self.state.close_requests(requests);
            }
            if is_complete {
                self.alarm.notify_one();
                load.finish(Ok(report));
            }
        }
    }

    fn lost(&self, turn: &Turn<Arc<Outgoing>>) {
        self.schedule().lost(turn.id, turn.position);
        self.work.notify_one();
    }

    fn refusal(&self, app: &App, excess: Excess) -> Error {
        let app_name = app.name.to_string();
        match excess {
            Excess::Requests => {
                Error::Overloaded { app_name, limit: self.limits.open_requests, what: "requests are open" }
            }
            Excess::Repeats => Error::OverBudget { app_name, limit: self.limits.repeats },
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Arc<Outgoing>>> {
        lock(&self.schedule)
    }
}

/// Waits until `time`, or for ever if there is none.
async fn sleep_until(time: Option<Time>, now: Time) {
    match time {
        Some(time) => tokio::time::sleep(time.since(now)).await,
        None => std::future::pending().await,
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

    fn report(&self, requests: u64) -> Report {
        let Progress { acknowledged, acknowledged_bytes, .. } = *lock(&self.progress);
        Report {
            digest: self.blob.digest(),
            plan: self.plan,
            requests,
            sent_chunks: acknowledged,
            sent_bytes: acknowledged_bytes,
            fetching: self.fetching,
            sending: self.begun.elapsed(),
        }
    }

    fn finish(&self, result: Result<Report, Error>) {
        if let Some(sender) = lock(&self.result).take() {
            // Whoever waited for it may be gone already.
            let _ = sender.send(result);
        }
    }

    fn tell_progress(&self, reporter: &Reporter, size: usize, now: Time) {
        let mut progress = lock(&self.progress);
        progress.acknowledged += 1;
        progress.acknowledged_bytes += size as u64;
        if !self.is_repeat && now.since(progress.told) >= PROGRESS_INTERVAL {
            progress.told = now;
            let (app_name, total_chunks) = (&*self.app.name, self.plan.total_chunks());
            let (acknowledged_chunks, total_chunks) = (int(progress.acknowledged), int(total_chunks));
            info!(parent: self.span.clone(), event = "sending", app_name, acknowledged_chunks, total_chunks, "sending");
            let digest = self.blob.digest();
            reporter.tell_progress(
                &self.app,
                status::DeliveryState::Sending,
                digest,
                &self.plan,
                progress.acknowledged,
            );
        }
    }
}
