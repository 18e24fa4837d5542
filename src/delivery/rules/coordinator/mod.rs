//! The rules of delivery as one state machine: it takes events with a time and returns actions.
//!
//! The service performs the actions on sockets and disks; the simulation performs them on simulated ones. What is proved
//! there is therefore what runs. Each method is an event; [`Coordinator::next_action`] returns what is to be done.
//!
//! ```text
//! request ──▶ Fetch ──▶ fetched ──▶ PersistVersions ──▶ persisted ──▶ Claim ──▶ claim returns ──▶ Send
//!     │                                                   │ (alone, or a repeat)                   ▲
//!     └──▶ Joined                                         └────────────────────────────────────────┘
//! next_turn ──▶ publish ──▶ acknowledged ──▶ Covered          failed, withdrawn, yielded ──▶ End
//! ```

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::delivery::rules::action::{Action, End, Options, Saved};
use crate::delivery::rules::replicas::Replicas;
use crate::delivery::rules::request::{Origin, Refusal, Request, RequestId};
use crate::delivery::rules::rule::{Rule, holds};
use crate::delivery::rules::schedule::{Admission, Covered, Limits, Schedule, TransferId, Turn};
use crate::delivery::rules::transfer::{Prepared, Purpose, Stage, Transfer};
use crate::delivery::rules::versions::{CHUNK_LIFETIME, Candidate, TagMoves, Versions};
use crate::mqtt::chunk::Encoder;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// The age at which a request from disk or the broker's queue is rejected: its device waits until it is 55 s old.
#[doc(alias = "bound")]
pub const MAX_REQUEST_AGE: Duration = Duration::from_secs(50);

/// Within this time after a subscription the retained messages have arrived.
pub const RETAINED_TIME: Duration = Duration::from_secs(5);

/// The rules of delivery.
#[derive(Debug)]
pub struct Coordinator<W> {
    options: Options,
    pub(in crate::delivery::rules) schedule: Schedule<W>,
    pub(in crate::delivery::rules) versions: Versions,
    pub(in crate::delivery::rules) replicas: Option<Replicas<W>>,
    /// Apps of which an earlier process was sending the latest version.
    interrupted: HashSet<App>,
    away: Away,
    /// Since when the connection for requests is up, with its subscriptions.
    connected_at: Option<Time>,
    /// The request that arrives now, unless it is rejected; its owner has not written it to disk yet.
    arriving: Option<RequestId>,
    /// Whether the process ends: no work begins any more.
    pub(in crate::delivery::rules) is_draining: bool,
    pub(in crate::delivery::rules) actions: VecDeque<Action<W>>,
}

/// How long the proxy was away.
#[derive(Debug, Clone, Copy)]
enum Away {
    /// Since this process or an earlier one had its subscription; nothing if none had, or its state was lost.
    Since(Option<Time>),
    /// For so long, until the subscription came back.
    For(Duration),
}

impl<W> Coordinator<W> {
    /// The rules, with what an earlier process wrote to disk.
    pub fn new(options: Options, saved: Saved, now: Time) -> Self {
        let mut coordinator = Self {
            schedule: Schedule::new(options.limits),
            versions: Versions::default(),
            replicas: options.replica.clone().map(Replicas::new),
            interrupted: HashSet::new(),
            away: Away::Since(saved.present),
            connected_at: None,
            arriving: None,
            is_draining: false,
            actions: VecDeque::new(),
            options,
        };
        coordinator.versions.set_uncertain_until(saved.uncertain_until);
        coordinator.versions.set_recut_until(saved.recut_until);
        if coordinator.replicas.is_some() {
            // Messages of other replicas may have been missed meanwhile.
            coordinator.set_uncertain(now);
        }
        for (app, versions) in saved.versions {
            if coordinator.versions.restore(app.clone(), versions, now) {
                coordinator.interrupted.insert(app);
            }
        }
        coordinator.forget_versions(now);
        coordinator
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action<W>> {
        self.actions.pop_front()
    }

    /// A request, which is on disk if it comes from there. Returns whether it is kept: it must be written then, unless it is a
    /// caller's, before what else is to be done.
    pub fn request(&mut self, app: &App, request: Request<W>, now: Time) -> bool {
        self.arriving = (request.origin != Origin::Disk).then_some(request.id);
        self.assign(app, request, now);
        self.arriving.take().is_some()
    }

    /// Has a request wait for its owner, or serves it.
    fn assign(&mut self, app: &App, request: Request<W>, now: Time) {
        let is_late = self.age(&request, now) >= MAX_REQUEST_AGE;
        match &mut self.replicas {
            // One that is too late may have been served by another replica: messages behind it say so.
            Some(replicas) if request.origin != Origin::Caller => {
                if let Err(request) = replicas.watch(app, request, is_late, now) {
                    return self.reject(app, Refusal::Watched, request);
                }
                self.take_over(app, now);
            }
            _ if is_late => self.reject(app, Refusal::TooLate(request.origin), request),
            _ => self.admit(app, request, now),
        }
    }

    /// Serves the requests for `app` that are this replica's.
    fn take_over(&mut self, app: &App, now: Time) {
        let Some(replicas) = self.replicas.as_mut().filter(|_| self.connected_at.is_some()) else { return };
        let is_mine = self.schedule.open(app).is_some();
        let requests = if is_mine { replicas.take(app) } else { replicas.take_due(app, now) };
        for request in requests {
            self.admit(app, request, now);
        }
    }

    /// How old a request is, as far as is known.
    fn age(&mut self, request: &Request<W>, now: Time) -> Duration {
        match (request.origin, self.away) {
            (Origin::Queue, Away::For(away)) => away,
            (Origin::Queue, Away::Since(Some(present))) => now.since(present),
            (Origin::Queue, Away::Since(None)) => {
                // There was a session, of which nothing is known any more.
                self.set_lost(now);
                Duration::ZERO
            }
            _ => now.since(request.arrived),
        }
    }

    /// The caller of a request does not wait for it any more. Returns the request if it was open.
    pub fn withdraw(&mut self, id: RequestId, now: Time) -> Option<Request<W>> {
        let (request, transfer) = self.schedule.withdraw(id)?;
        if let Some(transfer) = transfer {
            self.end(transfer, End::Withdrawn, now);
        }
        Some(request)
    }

    /// The module of a transfer is on disk and verified.
    pub fn fetched(&mut self, id: TransferId, candidate: Candidate, now: Time) {
        let Some(app) = self.schedule.get(id).map(|transfer| transfer.app.clone()) else { return };
        self.make_room(&app, now);
        let Some(transfer) = self.schedule.get_mut(id) else { return };
        match self.versions.begin(&app, candidate, self.options.chunk_size, now) {
            Ok(plan) => {
                transfer.stage = Stage::Persisting(Prepared { candidate, plan });
                self.persist_versions(app, Some(id));
                if !holds(Rule::PersistFirst) {
                    self.persisted(id, now);
                }
            }
            Err(refusal) => self.end(id, End::Failed(refusal), now),
        }
    }

    /// The versions of a transfer's app are on disk.
    pub fn persisted(&mut self, id: TransferId, now: Time) {
        let Some(transfer) = self.schedule.get_mut(id) else { return };
        let Stage::Persisting(prepared) = transfer.stage else { return };
        if self.replicas.is_none() || transfer.purpose == Purpose::Repeat || !holds(Rule::Claim) {
            return self.send(id, now);
        }
        transfer.stage = Stage::Claiming(prepared, now);
        let claim = Action::Claim(transfer.app.clone(), prepared.version());
        self.actions.push_back(claim);
    }

    /// A transfer cannot go on: its module cannot be had or read. Returns its open requests, which are off the disk unless
    /// `is_stopping`: then the next process serves them.
    pub fn failed(&mut self, id: TransferId, is_stopping: bool, now: Time) -> Vec<Request<W>> {
        let requests = self.remove(id, now);
        if !is_stopping {
            self.forget(&requests);
        }
        requests
    }

    /// Takes the next chunk to publish.
    pub fn next_turn(&mut self, now: Time) -> Option<Turn> {
        if self.has_lease(now) { self.schedule.next_turn(now) } else { None }
    }

    /// The broker acknowledged a chunk.
    pub fn acknowledged(&mut self, turn: &Turn, now: Time) -> Option<Covered<W>> {
        let app = self.schedule.get(turn.transfer)?.app.clone();
        let covered = self.schedule.acknowledged(turn, now)?;
        if covered.is_complete {
            self.versions.end(&app, now);
            self.persist_versions(app, None);
        }
        self.forget(&covered.requests);
        Some(covered)
    }

    /// The broker will not acknowledge a chunk: its connection ended.
    pub fn lost(&mut self, turn: &Turn) {
        self.schedule.lost(turn);
    }

    /// The connection for chunks is back after `outage`. Returns how many transfers are covered again.
    pub fn chunks_connected(&mut self, outage: Duration, now: Time) -> usize {
        self.schedule.recover(outage, now)
    }

    /// The connection for requests is up, with its subscriptions. Requests that the broker queued meanwhile may arrive
    /// before this.
    pub fn requests_connected(&mut self, now: Time) {
        self.connected_at = Some(now);
        if let Away::Since(Some(since)) = self.away {
            self.away = Away::For(now.since(since));
        }
        let Some(replicas) = &mut self.replicas else { return };
        replicas.connected(now);
        // Messages of other replicas may have been missed meanwhile, and so may claims.
        self.set_uncertain(now);
        for transfer in self.schedule.transfers_mut() {
            if let Stage::Claiming(prepared, since) = &mut transfer.stage {
                *since = now;
                self.actions.push_back(Action::Claim(transfer.app.clone(), prepared.version()));
            }
        }
    }

    /// The connection for requests is down.
    pub fn requests_disconnected(&mut self, now: Time) {
        let Some(connected_at) = self.connected_at.take() else { return };
        let is_unknown = matches!(self.away, Away::Since(None)) && now.since(connected_at) < RETAINED_TIME;
        if !is_unknown {
            self.away = Away::Since(Some(now));
        }
    }

    pub(in crate::delivery::rules) fn is_connected(&self) -> bool {
        self.connected_at.is_some()
    }

    /// The process ends: what is open may be delivered, and nothing is begun.
    pub fn drain(&mut self) {
        self.is_draining = true;
        let is_resting = |transfer: &Transfer<W>| matches!(transfer.stage, Stage::Resting);
        let resting = self.schedule.transfers().filter(|(_, transfer)| is_resting(transfer));
        for id in resting.map(|(id, _)| id).collect::<Vec<_>>() {
            self.schedule.remove(id);
        }
    }

    /// A presence message: of a replica of this one if `is_replica`.
    pub fn presence(&mut self, instance: &str, is_online: bool, is_retained: bool, is_replica: bool, now: Time) {
        // A retained message is older than this proxy, which remembers nothing of that time.
        if is_retained && matches!(self.away, Away::Since(None)) {
            self.set_lost(now);
        }
        if is_replica && let Some(replicas) = &mut self.replicas {
            replicas.presence(instance, is_online, now);
        }
    }

    /// Forgets versions of which no device holds chunks any more. To be called each minute.
    pub fn forget_versions(&mut self, now: Time) {
        let forgotten = self.versions.forget(now);
        self.persist_forgotten(forgotten);
    }

    /// Makes room for the versions of `app`.
    pub(in crate::delivery::rules) fn make_room(&mut self, app: &App, now: Time) {
        let forgotten = self.versions.make_room(app, now);
        self.persist_forgotten(forgotten);
    }

    fn persist_forgotten(&mut self, apps: Vec<App>) {
        let forgotten =
            apps.into_iter().map(|app| Action::PersistVersions { app, versions: Vec::new(), transfer: None });
        self.actions.extend(forgotten);
    }

    /// All is lost that an earlier process knew: also how it cut modules.
    fn set_lost(&mut self, now: Time) {
        self.versions.set_recut_until(now + CHUNK_LIFETIME);
        self.set_uncertain(now);
    }

    /// Devices may hold chunks of versions that this proxy does not know.
    pub fn set_uncertain(&mut self, now: Time) {
        if holds(Rule::Uncertainty) {
            let until = self.versions.set_uncertain(now);
            self.actions.push_back(Action::PersistUncertainty(until));
        }
    }

    /// Whether no other replica has a higher rank for `app`.
    pub(in crate::delivery::rules) fn is_first(&self, app: &App) -> bool {
        self.replicas.as_ref().is_none_or(|replicas| replicas.is_first(app))
    }

    /// Whether no other replica that was heard lately has a higher rank for `app`: this one tells what becomes of it.
    pub fn is_spokesman(&self, app: &App, now: Time) -> bool {
        self.replicas.as_ref().is_none_or(|replicas| replicas.is_spokesman(app, now))
    }

    /// How many transfers have open requests.
    pub fn open_transfers(&self) -> usize {
        self.schedule.transfers().filter(|(_, transfer)| transfer.is_open()).count()
    }

    /// How many requests are not covered.
    pub fn open_requests(&self) -> usize {
        self.schedule.open_requests()
    }

    pub fn limits(&self) -> Limits {
        self.options.limits
    }

    pub(in crate::delivery::rules) fn admit(&mut self, app: &App, request: Request<W>, now: Time) {
        let is_resumed = request.origin == Origin::Disk && self.interrupted.contains(app);
        let purpose = if is_resumed { Purpose::Resume } else { Purpose::Request };
        match self.schedule.admit(app, request, purpose, now) {
            Ok(Admission::Opened { transfer, superseded }) => {
                self.interrupted.remove(app);
                if let Some(repeat) = superseded {
                    self.versions.end(app, now);
                    self.persist_versions(app.clone(), None);
                    self.actions.push_back(Action::End {
                        transfer: repeat,
                        end: End::Superseded,
                        requests: Vec::new(),
                    });
                }
                self.fetch(transfer, now);
            }
            Ok(Admission::Joined { transfer, requests }) => {
                self.actions.push_back(Action::Joined { transfer, app: app.clone(), requests });
            }
            Err((refusal, request)) => self.reject(app, refusal, request),
        }
    }

    pub(in crate::delivery::rules) fn reject(&mut self, app: &App, refusal: Refusal, request: Request<W>) {
        if self.arriving.take_if(|id| *id == request.id).is_none() {
            self.actions.push_back(Action::CloseRequests(vec![request.id]));
        }
        self.actions.push_back(Action::Reject { app: app.clone(), request, refusal });
    }

    /// Has the module of a transfer fetched: as the reference means it now, or as it was sent last.
    pub(in crate::delivery::rules) fn fetch(&mut self, transfer: TransferId, now: Time) {
        let Some((app, purpose)) = self.schedule.get(transfer).map(|open| (open.app.clone(), open.purpose)) else {
            return;
        };
        let root = match (purpose, self.options.tag_moves) {
            (Purpose::Request, TagMoves::Fresh) => None,
            (Purpose::Request, TagMoves::Pinned) => self.versions.pin(&app, now),
            (Purpose::Resume | Purpose::Repeat, _) => self.versions.latest(&app),
        };
        if purpose == Purpose::Repeat && root.is_none() {
            // What was sent is forgotten, as no device can mix it; what the app means now is not to be sent without a claim.
            self.remove(transfer, now);
            return;
        }
        self.actions.push_back(Action::Fetch { transfer, app, purpose, root });
    }

    pub(in crate::delivery::rules) fn send(&mut self, id: TransferId, now: Time) {
        let Some(transfer) = self.schedule.get(id) else { return };
        let Some(version) = transfer.prepared().map(Prepared::version) else { return };
        let (plan, transfer_app) = (version.plan, transfer.app.clone());
        let message_size = Encoder::new(&transfer.app.name, plan.total_chunks()).message_size(plan.chunk(0).1) as u64;
        match self.schedule.start(id, &version, message_size, now) {
            Ok(()) => {
                if !self.has_lease(now) {
                    self.renew_lease(transfer_app, now);
                }
                self.actions.push_back(Action::Send { transfer: id, version });
            }
            Err(refusal) => self.end(id, End::Failed(refusal), now),
        }
    }

    /// Ends a transfer that does not cover its requests.
    pub(in crate::delivery::rules) fn end(&mut self, id: TransferId, end: End, now: Time) {
        let Some(app) = self.schedule.get(id).map(|transfer| transfer.app.clone()) else { return };
        let mut requests = self.remove(id, now);
        if end == End::Withdrawn
            && let Some(replicas) = &mut self.replicas
        {
            // No status message says so.
            replicas.release(&app);
        }
        if end == End::Yielded
            && let Some(replicas) = &mut self.replicas
        {
            // The caller of a request learns that another replica sends the app; devices receive it from there.
            let is_devices = |request: &mut Request<W>| request.origin != Origin::Caller;
            let devices = requests.extract_if(.., is_devices).collect();
            // The owner has those for which there is no room, too.
            let refused = replicas.give_back(&app, devices, now);
            self.forget(&refused);
        } else {
            self.forget(&requests);
        }
        self.actions.push_back(Action::End { transfer: id, end, requests });
    }

    /// Removes a transfer; its version counts as sent until now.
    pub(in crate::delivery::rules) fn remove(&mut self, id: TransferId, now: Time) -> Vec<Request<W>> {
        let Some(transfer) = self.schedule.remove(id) else { return Vec::new() };
        if !matches!(transfer.stage, Stage::Fetching | Stage::Resting) {
            self.versions.end(&transfer.app, now);
            self.persist_versions(transfer.app, None);
        }
        transfer.requests.into()
    }

    pub(in crate::delivery::rules) fn persist_versions(&mut self, app: App, transfer: Option<TransferId>) {
        let versions = self.versions.of(&app).to_vec();
        self.actions.push_back(Action::PersistVersions { app, versions, transfer });
    }

    /// Has requests removed from the disk, on which those of callers are not.
    pub(in crate::delivery::rules) fn forget(&mut self, requests: &[Request<W>]) {
        let written = requests.iter().filter(|request| request.origin != Origin::Caller);
        let ids: Vec<_> = written.map(|request| request.id).collect();
        if !ids.is_empty() {
            self.actions.push_back(Action::CloseRequests(ids));
        }
    }
}

#[cfg(test)]
mod tests;
