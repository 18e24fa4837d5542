//! The path of a module, in reading order: from the message of a device to the broker's last acknowledgement.
//!
//! ```text
//!  broker ──▶ requests connection ──▶ inbox ─┐ 8,192 messages
//!  callers ──▶ Service::deliver ─────────────┤ 256 calls
//!                                            ▼
//!                 ┌────────────── the task of the service ───────────┐
//!                 │  Pipeline                                        │
//!                 │    Coordinator: the rules, no socket, no clock   │──▶ Telemetry ──▶ log, status, events, metrics
//!                 │    Delivery, one per transfer under way          │──▶ State ──▶ writer thread ──▶ disk, then PUBACK
//!                 │    Sender: one chunk encoded, 20 in flight       │──▶ chunks connection ──▶ broker ──▶ devices
//!                 └───────┬────────────────────▲───────────▲─────────┘◀── acknowledgements
//!                         ▼ a task per transfer│ Completion│ timers, changes of the connections
//!                 Puller: registry ──▶ store ──▶ verified module
//! ```
//!
//! What happens is an event for the [`Coordinator`]. What it decides is an [`Action`], which [`Pipeline::perform`] carries
//! out, or the [`Turn`] of the next chunk. A transfer is the coordinator's view of one module on its way, until the last
//! repeat of it; a [`Delivery`] is the service's view of it while it is fetched or sent, so a repeat has a new one. Requests
//! leave by one of four ways: [`Pipeline::reject`] before a transfer, [`Pipeline::covered`] when each chunk was acknowledged
//! since, [`Pipeline::end`] when the coordinator ends the transfer, [`Pipeline::fail`] when the service cannot go on.
//!
//! Nothing here waits: what takes time runs on a task of its own, or in the [`Sender`], and comes back as a [`Completion`].
//! The loop is in `task`; `drive` has what it calls beside the path: the wait for the next completion, the connections,
//! housekeeping, the end. `docs/glossary.md` has the terms.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::task::{Id, JoinSet};
use tracing::{Instrument, Span, debug_span};

use super::delivery::{Delivery, Fetched};
use super::fetch::fetch;
use super::handle::{Call, Caller};
use super::inbox::Inbound;
use super::refusal::error_of;
use crate::delivery::rules::HEARTBEAT_INTERVAL;
use crate::delivery::rules::action::{Action, End};
use crate::delivery::rules::coordinator::Coordinator;
use crate::delivery::rules::group::ReplicaStatus;
use crate::delivery::rules::request::{Origin, Refusal, Request, RequestId};
use crate::delivery::rules::schedule::{Covered, TransferId, Turn};
use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::{SentVersion, Version};
use crate::delivery::sender::{Sender, Sent};
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::status::Presence;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::oci::host::RegistryUrl;
use crate::oci::pull::Puller;
use crate::oci::reference::Reference;
use crate::state::{OpenRequest, State};
use crate::telemetry::Telemetry;
use crate::telemetry::events::Report;
use crate::util::clock::{Clock, Time};
use crate::util::fair::FairSemaphore;

/// The caller to answer; `None` for a device, which waits for chunks.
pub(super) type Waiter = Option<Caller>;

/// Carries out the transfers that the coordinator decides on.
pub(super) struct Pipeline {
    pub(super) coordinator: Coordinator<Waiter>,
    pub(super) deliveries: HashMap<TransferId, Delivery>,
    /// Modules that are being fetched, and versions that are being written.
    pub(super) work: JoinSet<Completion>,
    pub(super) sender: Sender,
    /// Futures that resolve when the caller of a request was answered, or has stopped waiting.
    pub(super) withdrawals: FuturesUnordered<Pin<Box<dyn Future<Output = RequestId> + Send>>>,
    /// Permits: how many modules may be open at once, to be sent.
    pub(super) places: Arc<FairSemaphore>,
    pub(super) next_request: RequestId,
    pub(super) registry: RegistryUrl,
    pub(super) group: Option<String>,
    pub(super) clock: Clock,
    pub(super) puller: Arc<Puller>,
    pub(super) state: Arc<State>,
    pub(super) telemetry: Arc<Telemetry>,
}

/// What has completed in the background.
pub(super) enum Completion {
    /// A module is on disk and verified, or could not be fetched.
    Fetched(TransferId, Result<Fetched, Error>),
    /// Versions are on disk, or cannot be written.
    Persisted(TransferId, Result<(), Error>),
    /// A chunk was published, acknowledged or lost.
    Sent(Sent),
    /// The caller of a request was answered, or has stopped waiting.
    Withdrawn(RequestId),
    /// A task of a transfer panicked, or was aborted.
    Panicked(Id, String),
    /// A timer of the coordinator expired, or the publish rate permits a chunk.
    Due,
}

impl Pipeline {
    // 1. Receive: a message of the broker, or a call from inside this process.

    /// Takes a message from the broker.
    pub(super) fn receive(&mut self, message: Inbound) {
        let now = self.clock.now();
        match message {
            Inbound::Request { app, is_queued, ack, .. } => {
                let origin = if is_queued { Origin::Queue } else { Origin::Device };
                self.request(&app, origin, ack, now);
            }
            Inbound::Status(app, status) => {
                self.coordinator.replica_status(&status.instance, &app, ReplicaStatus::of(&status), now);
            }
            Inbound::Presence { instance, presence: Presence { online, group, .. }, is_retained } => {
                let is_replica = group.is_some() && group == self.group;
                self.coordinator.presence(&instance, online, is_retained, is_replica, now);
            }
        }
        self.advance();
    }

    /// Takes a call from inside this process.
    pub(super) fn call(&mut self, Call { app, caller, withdrawn }: Call) {
        if withdrawn.is_cancelled() {
            return self.telemetry.withdrawn();
        }
        let (id, now) = (self.new_request(), self.clock.now());
        self.withdrawals.push(Box::pin(async move {
            withdrawn.cancelled().await;
            id
        }));
        self.coordinator.request(&app, Request::new(id, now, Origin::Caller, Some(caller)), now);
        self.advance();
    }

    /// Resumes the requests that an earlier process had neither covered nor given up.
    pub(super) fn resume(&mut self, requests: Vec<(RequestId, OpenRequest)>) {
        let now = self.clock.now();
        for (id, OpenRequest { app, arrived }) in requests {
            self.telemetry.resumed(&app, now.since(arrived));
            self.coordinator.request(&app, Request::new(id, arrived, Origin::Disk, None), now);
        }
        self.advance();
    }

    /// Queues a request for the disk, and serves it meanwhile. The state acknowledges it to the broker once it is written, or
    /// cannot be. One that is rejected costs nothing but the message that says so.
    fn request(&mut self, app: &App, origin: Origin, ack: Ack, now: Time) {
        if let Err(error) = self.permit(app) {
            ack.acknowledge();
            // Of several replicas, one says so.
            if self.coordinator.is_spokesman(app, now) {
                self.telemetry.rejected(app, false, &error);
            }
            return;
        }
        let id = self.new_request();
        if self.coordinator.request(app, Request::new(id, now, origin, None), now) {
            self.state.open_request(id, OpenRequest { app: app.clone(), arrived: now }, ack);
        } else {
            ack.acknowledge();
        }
    }

    /// Refuses a name that is no reference, or one that requests may not have.
    fn permit(&self, app: &App) -> Result<(), Error> {
        self.puller.permit(&Reference::parse(&app.name, &self.registry)?)
    }

    /// Takes what has completed.
    pub(super) fn take(&mut self, completion: Completion) {
        let now = self.clock.now();
        match completion {
            Completion::Fetched(transfer, fetched) => self.fetched(transfer, fetched),
            Completion::Persisted(transfer, persisted) => self.persisted(transfer, persisted),
            Completion::Sent(sent) => self.chunk_sent(sent),
            Completion::Withdrawn(request) => {
                if self.coordinator.withdraw(request, now).is_some() {
                    self.telemetry.withdrawn();
                }
            }
            Completion::Panicked(task, panic) => {
                let is_it = |work: &tokio::task::AbortHandle| work.id() == task;
                let failed = self.deliveries.iter().find(|(_, delivery)| delivery.work.as_ref().is_some_and(is_it));
                // One that was aborted has no delivery any more.
                if let Some(transfer) = failed.map(|(transfer, _)| *transfer) {
                    self.fail(transfer, &Error::Setup { object: "a task of the delivery".into(), detail: panic });
                }
            }
            Completion::Due => self.coordinator.wake(now),
        }
        self.advance();
    }

    fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        self.next_request - 1
    }

    // 2. Admit: the coordinator decides, and says what is to be done.

    /// Does what the coordinator says, and gives the sender its next chunk.
    pub(super) fn advance(&mut self) {
        loop {
            while let Some(action) = self.coordinator.next_action() {
                self.perform(action);
            }
            if !self.sender.is_ready() {
                return;
            }
            let Some(turn) = self.coordinator.next_turn(self.clock.now()) else { return };
            // A turn is only given for a transfer that has begun to send, so there is always one.
            if let Some(sending) = self.deliveries.get(&turn.transfer).and_then(|delivery| delivery.sending.as_ref()) {
                self.sender.send(turn, Arc::clone(&sending.chunks));
            }
        }
    }

    /// Performs one action.
    fn perform(&mut self, action: Action<Waiter>) {
        match action {
            Action::Reject { app, request, refusal } => self.reject(&app, request, refusal),
            Action::Joined { transfer, app, requests } => {
                let delivery = self.deliveries.get(&transfer).map_or_else(Span::none, |open| open.span.clone());
                self.telemetry.joined(&app, requests, &delivery);
            }
            Action::Fetch { transfer, app, purpose, root } => self.fetch(transfer, app, purpose, root),
            Action::PersistVersions { app, versions, transfer } => self.persist(app, versions, transfer),
            Action::PersistUncertainty(until) => self.state.write_uncertain(until),
            Action::Claim(app, version) => self.telemetry.claiming(&app, &version),
            Action::Object(app, version) => self.telemetry.objecting(&app, &version),
            // Any status message says that it is there.
            Action::Heartbeat(_) if self.telemetry.status_silence() < HEARTBEAT_INTERVAL => {}
            Action::Heartbeat(app) => self.telemetry.heartbeat(&app),
            Action::Live(app, number) => self.telemetry.live(&App { name: "".into(), ..app }, number),
            Action::Send { transfer, version } => self.begin_sending(transfer, version),
            Action::CloseRequests(ids) => self.state.close_requests(ids),
            Action::End { transfer, end, requests } => self.end(transfer, end, requests),
        }
    }

    /// Says why a request is rejected. The action before this one removes it from the disk.
    fn reject(&mut self, app: &App, request: Request<Waiter>, refusal: Refusal) {
        let error = error_of(refusal, app, &self.coordinator.limits());
        self.telemetry.rejected(app, request.waiter.is_some(), &error);
        answer([request], |_| Err(error.clone()));
    }

    // 3. Resolve and fetch.

    fn fetch(&mut self, transfer: TransferId, app: App, purpose: Purpose, root: Option<Digest>) {
        self.telemetry.opened(&app, purpose);
        let mut delivery = Delivery::new(app.clone(), purpose);
        let (registry, places) = (self.registry.clone(), Arc::clone(&self.places));
        let (puller, telemetry) = (Arc::clone(&self.puller), Arc::clone(&self.telemetry));
        let fetched = async move {
            let fetched = fetch(&app, purpose, root, &registry, &places, &puller, &telemetry).await;
            Completion::Fetched(transfer, fetched)
        };
        delivery.work = Some(self.work.spawn(fetched.instrument(delivery.span.clone())));
        self.deliveries.insert(transfer, delivery);
    }

    pub(super) fn fetched(&mut self, transfer: TransferId, fetched: Result<Fetched, Error>) {
        let Some(delivery) = self.deliveries.get_mut(&transfer) else { return };
        match fetched {
            Ok(module) => {
                delivery.step_span = debug_span!(parent: &delivery.span, "plan");
                let candidate = module.candidate;
                delivery.module = Some(module);
                self.coordinator.fetched(transfer, candidate, self.clock.now());
            }
            Err(error) if error.is_damage() => self.unreadable(transfer, &error),
            Err(error) => self.fail(transfer, &error),
        }
    }

    // 4. Plan: the coordinator chooses the chunks. The version, the last one of its app, is on disk before its first chunk is
    // published.

    fn persist(&mut self, app: App, versions: Vec<SentVersion>, transfer: Option<TransferId>) {
        let awaited_by = transfer.and_then(|transfer| Some((transfer, self.deliveries.get_mut(&transfer)?)));
        let Some((transfer, delivery)) = awaited_by else { return self.state.write_versions(app, versions) };
        if let Some(planned) = versions.last() {
            delivery.step_span.in_scope(|| self.telemetry.planned(&app, &planned.version));
        }
        let written = self.state.persist_versions(app, versions);
        let persisted = async move { Completion::Persisted(transfer, written.await) };
        delivery.work = Some(self.work.spawn(persisted.instrument(delivery.step_span.clone())));
    }

    pub(super) fn persisted(&mut self, transfer: TransferId, persisted: Result<(), Error>) {
        match persisted {
            Ok(()) => self.coordinator.persisted(transfer, self.clock.now()),
            Err(error) => self.fail(transfer, &error),
        }
    }

    // 5. Claim, only in a group: `perform` publishes it as a status message, `receive` takes it back as one, and the rest is in
    // `rules::group`. Then other replicas may object; if none does, the coordinator goes on.

    // 6. Send: chunk by chunk, as the coordinator gives turns (`advance`).

    fn begin_sending(&mut self, transfer: TransferId, version: Version) {
        let Some(delivery) = self.deliveries.get_mut(&transfer) else { return };
        delivery.begin_sending(version, self.clock.now());
        delivery.span.in_scope(|| self.telemetry.sending(&delivery.app, delivery.purpose, &version));
    }

    fn chunk_sent(&mut self, sent: Sent) {
        match sent {
            Sent::Published { turn, size } => {
                if let Some(delivery) = self.deliveries.get(&turn.transfer) {
                    self.telemetry.published(&delivery.app, turn.index, size);
                }
            }
            Sent::Acknowledged { turn, size, time } => self.acknowledged(&turn, size, time),
            Sent::Lost(turn) => self.coordinator.lost(&turn),
            Sent::Unreadable(turn, error) => self.unreadable(turn.transfer, &error),
            // The connection returns the reason, with which `Task::run` ends.
            Sent::Closed => {}
        }
        self.telemetry.in_flight(self.sender.in_flight_bytes());
    }

    /// A chunk cannot be read, or is not what was verified: its blob is not in the store any more, and is fetched again.
    fn unreadable(&mut self, transfer: TransferId, error: &Error) {
        if !self.coordinator.damaged(transfer, self.clock.now()) {
            self.fail(transfer, error);
        }
    }

    fn acknowledged(&mut self, turn: &Turn, size: usize, time: Duration) {
        let now = self.clock.now();
        let Some(delivery) = self.deliveries.get_mut(&turn.transfer) else { return };
        let Some(sending) = &mut delivery.sending else { return };
        let is_progress_due = sending.acknowledge(size, now);
        self.telemetry.acknowledged(&delivery.app, turn.index, size, time, sending.acknowledged);
        if is_progress_due && delivery.purpose != Purpose::Repeat {
            let (version, acknowledged) = (sending.version, sending.acknowledged);
            delivery.step_span.in_scope(|| self.telemetry.progressed(&delivery.app, &version, acknowledged));
        }
        // For most chunks its lists are empty.
        if let Some(covered) = self.coordinator.acknowledged(turn, now) {
            self.covered(turn.transfer, covered, now);
        }
    }

    // 7. Outcome: requests are covered, or the transfer ends without that. A covered transfer rests in the coordinator, which
    // repeats it where devices may have missed it.

    fn covered(&mut self, transfer: TransferId, covered: Covered<Waiter>, now: Time) {
        let Covered { first_chunks, requests, served, is_complete } = covered;
        self.telemetry.first_chunks(first_chunks);
        let Some(delivery) = self.deliveries.get(&transfer) else { return };
        // Chunks were acknowledged, so the delivery has a report.
        let Some(report) = delivery.report(served) else { return };
        if is_complete {
            self.telemetry.set_open_transfers(self.coordinator.open_transfers());
            delivery.span.in_scope(|| self.telemetry.delivered(&delivery.app, delivery.purpose, &report));
        }
        self.telemetry.covered(requests.iter().map(|request| now.since(request.arrived)));
        answer(requests, |caller| Ok(caller.own(&report)));
        if is_complete {
            self.deliveries.remove(&transfer);
        }
    }

    fn end(&mut self, transfer: TransferId, end: End, requests: Vec<Request<Waiter>>) {
        let Some(delivery) = self.deliveries.remove(&transfer) else { return };
        let app = &delivery.app;
        let app_name = || app.name.to_string();
        match end {
            End::Withdrawn => self.give_up(&delivery, requests, &Error::Withdrawn { app_name: app_name() }),
            End::Failed(refusal) => {
                let error = error_of(refusal, app, &self.coordinator.limits());
                self.give_up(&delivery, requests, &error);
            }
            End::Yielded => {
                let error = Error::GivenWay { app_name: app_name() };
                delivery.span.in_scope(|| self.telemetry.yielded(app, requests.len(), &error));
                answer(requests, |_| Err(error.clone()));
            }
            End::Superseded => delivery.span.in_scope(|| self.telemetry.superseded(app)),
        }
    }

    /// A transfer cannot go on.
    pub(super) fn fail(&mut self, transfer: TransferId, error: &Error) {
        let is_stopping = matches!(error, Error::Stopping { .. });
        let requests = self.coordinator.failed(transfer, is_stopping, self.clock.now());
        if let Some(delivery) = self.deliveries.remove(&transfer) {
            self.give_up(&delivery, requests, error);
        }
    }

    fn give_up(&self, delivery: &Delivery, requests: Vec<Request<Waiter>>, error: &Error) {
        let callers = requests.iter().filter(|request| request.waiter.is_some()).count();
        self.telemetry.set_open_transfers(self.coordinator.open_transfers());
        delivery.span.in_scope(|| {
            self.telemetry.failed(&delivery.app, delivery.purpose, requests.len(), callers, error);
        });
        answer(requests, |_| Err(error.clone()));
    }
}

/// Answers the callers among these requests.
fn answer(requests: impl IntoIterator<Item = Request<Waiter>>, outcome: impl Fn(&Caller) -> Result<Report, Error>) {
    for caller in requests.into_iter().filter_map(|request| request.waiter) {
        let outcome = outcome(&caller);
        // The caller may be gone already.
        let _ = caller.reply.send(outcome);
    }
}
