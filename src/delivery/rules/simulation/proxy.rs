//! A proxy: the coordinator, and the disk and connections of its process.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::random::Random;
use super::{BEGIN, CHUNK_SIZE, TICK};
use crate::delivery::rules::action::{Action, End, Options, Saved};
use crate::delivery::rules::coordinator::{Coordinator, RETAINED_TIME};
use crate::delivery::rules::group::ReplicaStatus;
use crate::delivery::rules::request::{Origin, Request, RequestId};
use crate::delivery::rules::schedule::{Limits, TransferId, Turn};
use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::{Candidate, SentVersion, TagMoves, Version};
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::clock::Time;

const FETCH_TIME: Duration = Duration::from_millis(300);
/// How long the disk takes, ticks, on average.
const WRITE_TICKS: u64 = 5;
/// How long the connections must have been up for what other replicas say to be known here.
const SETTLING_TIME: Duration = Duration::from_secs(10);

/// What is at a registry: each module is its version number, over and over.
pub(super) struct Registry {
    /// The number and size of what each app's tag means.
    pub(super) tags: Vec<(u8, u64)>,
    pub(super) modules: HashMap<Digest, (u8, u64)>,
}

impl Registry {
    pub(super) fn push(&mut self, app: usize, version: u8, size: u64) {
        self.tags[app] = (version, size);
        self.modules.insert(digest((version, size)), (version, size));
    }
}

fn digest((version, size): (u8, u64)) -> Digest {
    Digest::of(format!("{version} {size}").as_bytes())
}

/// A transfer that is being sent.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) app: usize,
    pub(super) version: Version,
    pub(super) since: Time,
    is_repeat: bool,
}

/// What survives a process.
#[derive(Default, Clone)]
pub(super) struct Disk {
    requests: Vec<(RequestId, usize, Time)>,
    versions: HashMap<usize, Vec<SentVersion>>,
    uncertain_until: Time,
    present: Option<Time>,
}

/// What is on its way to the disk, in its order.
enum Write {
    Versions(usize, Vec<SentVersion>, Option<TransferId>),
    Uncertainty(Time),
    Present(Time),
    CloseRequests(Vec<RequestId>),
}

pub(super) struct Proxy {
    pub(super) name: String,
    is_replica: bool,
    /// Whether it has sent, or may have, while it did not know all versions.
    pub(super) has_guessed: bool,
    pub(super) coordinator: Coordinator<()>,
    pub(super) disk: Disk,
    writes: VecDeque<Write>,
    next_request: RequestId,
    /// Transfers whose module is being fetched: what is fetched, what for, and when it is there.
    fetches: Vec<(TransferId, usize, Purpose, Option<Digest>, Time)>,
    purposes: HashMap<TransferId, (usize, Purpose)>,
    sending: HashMap<TransferId, Sending>,
    pub(super) in_flight: VecDeque<Turn>,
    /// Until when the process is dead.
    pub(super) dead_until: Option<Time>,
    /// Until when the process stands still.
    pub(super) still_until: Time,
    /// Since when the connections are down.
    pub(super) down_since: Option<Time>,
    pub(super) down_until: Time,
    /// Whether this process has been connected.
    was_connected: bool,
    /// Since when its subscriptions are back.
    subscribed_at: Option<Time>,
    /// Status messages that wait for the connection.
    unsent: Vec<(usize, ReplicaStatus)>,
    /// When it was last woken without an alarm.
    woken_at: Time,
}

impl Proxy {
    pub(super) fn new(name: &str, is_replica: bool, apps: &[App], disk: Disk, now: Time) -> Self {
        let replica = is_replica.then(|| name.to_owned());
        let passes_per_minute = std::num::NonZeroU32::new(10).unwrap();
        let limits = Limits { open_requests: 100, passes_per_minute, publish_rate: None, repeats: None };
        let options = Options { limits, chunk_size: CHUNK_SIZE, tag_moves: TagMoves::Fresh, replica };
        let versions = disk.versions.iter().map(|(app, versions)| (apps[*app].clone(), versions.clone())).collect();
        let saved =
            Saved { versions, uncertain_until: disk.uncertain_until, present: disk.present, ..Saved::default() };
        Self {
            name: name.into(),
            is_replica,
            has_guessed: false,
            coordinator: Coordinator::new(options, saved, now),
            disk,
            writes: VecDeque::new(),
            next_request: 0,
            fetches: Vec::new(),
            purposes: HashMap::new(),
            sending: HashMap::new(),
            in_flight: VecDeque::new(),
            dead_until: None,
            still_until: BEGIN,
            down_since: None,
            down_until: BEGIN,
            was_connected: false,
            subscribed_at: None,
            unsent: Vec::new(),
            woken_at: now,
        }
    }

    /// From when on it has received all that the other replicas say.
    pub(super) fn settled_at(&self) -> Time {
        self.down_until + SETTLING_TIME
    }

    /// The versions that it sends because of requests, and began to send after `since`.
    pub(super) fn sends(&self, since: Time) -> impl Iterator<Item = &Sending> {
        self.sending.values().filter(move |sending| !sending.is_repeat && sending.since >= since)
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.subscribed_at.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.dead_until.is_none() && self.down_since.is_none()
    }

    /// Starts again with what is on the disk.
    pub(super) fn restart(&mut self, apps: &[App], now: Time) {
        let (disk, next_request, has_guessed) = (self.disk.clone(), self.next_request, self.has_guessed);
        let (down_since, down_until) = (self.down_since, self.down_until);
        *self = Self::new(&self.name, self.is_replica, apps, disk, now);
        (self.next_request, self.down_since, self.down_until) = (next_request, down_since, down_until);
        self.has_guessed = has_guessed;
        for (id, app, arrived) in self.disk.requests.clone() {
            self.coordinator.request(&apps[app], Request::new(id, arrived, Origin::Disk, ()), now);
        }
    }

    /// The state folder is lost.
    pub(super) fn lose_state(&mut self) {
        self.disk = Disk::default();
    }

    /// The process stands still, and receives and sends nothing.
    pub(super) fn stop(&mut self, until: Time) {
        self.still_until = until;
        self.down_until = self.down_until.max(until);
    }

    /// The module that it sends is damaged on disk; after too many such faults it can be read again.
    pub(super) fn damage(&mut self, now: Time) {
        if let Some(transfer) = self.sending.keys().min() {
            self.coordinator.damaged(*transfer, now);
        }
    }

    /// A request arrives. It is acknowledged when it is on disk.
    pub(super) fn request(&mut self, app: usize, apps: &[App], origin: Origin, now: Time) {
        let id = self.next_request;
        self.next_request += 1;
        if self.coordinator.request(&apps[app], Request::new(id, now, origin, ()), now) {
            self.disk.requests.push((id, app, now));
        }
    }

    /// The connections break: the broker may or may not have what is in flight.
    pub(super) fn disconnect(&mut self, now: Time) {
        self.down_since = self.down_since.or(Some(now));
        self.down_until = now + TICK;
        self.subscribed_at = None;
        self.coordinator.requests_disconnected(now);
        for turn in std::mem::take(&mut self.in_flight) {
            self.coordinator.lost(&turn);
        }
    }

    pub(super) fn connect(&mut self, now: Time) {
        if let Some(since) = self.down_since.take()
            && self.was_connected
        {
            self.coordinator.chunks_connected(now.since(since), now);
        }
        self.was_connected = true;
    }

    /// The subscriptions are back; what the broker had queued has arrived.
    pub(super) fn subscribe(&mut self, now: Time) {
        self.subscribed_at = Some(now);
        self.coordinator.requests_connected(now);
    }

    /// Does what the coordinator says; returns what is published on the status topic.
    pub(super) fn work(
        &mut self,
        apps: &[App],
        registry: &Registry,
        random: &mut Random,
        now: Time,
    ) -> Vec<(usize, ReplicaStatus)> {
        if self.subscribed_at.is_some_and(|since| now.since(since) >= RETAINED_TIME) {
            self.writes.push_back(Write::Present(now));
        }
        let is_second = now.since(self.woken_at) >= Duration::from_secs(1);
        if is_second || self.coordinator.next_alarm().is_some_and(|alarm| alarm <= now) {
            self.woken_at = if is_second { now } else { self.woken_at };
            self.coordinator.wake(now);
        }
        for (id, app, purpose, root, _) in self.fetches.extract_if(.., |fetch| fetch.4 <= now).collect::<Vec<_>>() {
            let module = root.map_or(registry.tags[app], |root| registry.modules[&root]);
            let digest = digest(module);
            self.purposes.insert(id, (app, purpose));
            let candidate = Candidate { root: digest, digest, size: module.1, may_move: true };
            self.coordinator.fetched(id, candidate, now);
        }
        self.perform(apps, random, now);
        // One transaction has all that waits; it may take some ticks.
        if random.once_in(WRITE_TICKS) {
            self.write(now);
            self.perform(apps, random, now);
        }
        if self.is_up() { std::mem::take(&mut self.unsent) } else { Vec::new() }
    }

    fn write(&mut self, now: Time) {
        for write in std::mem::take(&mut self.writes) {
            match write {
                Write::Versions(app, versions, transfer) => {
                    self.disk.versions.insert(app, versions);
                    if let Some(transfer) = transfer {
                        self.coordinator.persisted(transfer, now);
                    }
                }
                Write::Uncertainty(until) => self.disk.uncertain_until = until,
                Write::Present(time) => self.disk.present = Some(time),
                Write::CloseRequests(ids) => self.disk.requests.retain(|(id, ..)| !ids.contains(id)),
            }
        }
    }

    fn perform(&mut self, apps: &[App], random: &mut Random, now: Time) {
        let index = |app: &App| apps.iter().position(|one| one == app).unwrap();
        while let Some(action) = self.coordinator.next_action() {
            match action {
                Action::Joined { .. } => {}
                Action::Reject { app, .. } => self.unsent.push((index(&app), ReplicaStatus::Rejects)),
                Action::Fetch { transfer, app, purpose, root } => {
                    self.fetches.push((transfer, index(&app), purpose, root, now + FETCH_TIME));
                }
                Action::PersistVersions { app, versions, transfer } => {
                    self.writes.push_back(Write::Versions(index(&app), versions, transfer));
                }
                Action::PersistUncertainty(until) => {
                    self.has_guessed = true;
                    self.writes.push_back(Write::Uncertainty(until));
                }
                Action::CloseRequests(ids) => {
                    // The change may be lost with the process.
                    if random.below(4) > 0 {
                        self.writes.push_back(Write::CloseRequests(ids));
                    }
                }
                Action::Claim(app, version) => self.unsent.push((index(&app), ReplicaStatus::Claims(version))),
                Action::Object(app, version) => self.unsent.push((index(&app), ReplicaStatus::Objects(version))),
                Action::Heartbeat(app) => self.unsent.push((index(&app), ReplicaStatus::Serves(None))),
                Action::Live(app, number) => self.unsent.push((index(&app), ReplicaStatus::Lives(number))),
                Action::Send { transfer, version } => self.send(transfer, version, now),
                Action::End { transfer, end, .. } => {
                    self.fetches.retain(|fetch| fetch.0 != transfer);
                    self.sending.remove(&transfer);
                    if let (End::Failed(_), Some((app, _))) = (end, self.purposes.get(&transfer)) {
                        self.unsent.push((*app, ReplicaStatus::Failed));
                    }
                }
            }
        }
    }

    fn send(&mut self, transfer: TransferId, version: Version, now: Time) {
        let (app, purpose) = self.purposes[&transfer];
        let version = Version { root: None, ..version };
        self.sending.insert(transfer, Sending { app, version, since: now, is_repeat: purpose == Purpose::Repeat });
    }

    /// Takes up to `count` chunks to publish.
    pub(super) fn publish(&mut self, count: u64, now: Time) -> Vec<(Turn, Sending)> {
        let turns = (0..count).map_while(|_| self.coordinator.next_turn(now));
        turns.filter_map(|turn| Some((turn, *self.sending.get(&turn.transfer)?))).collect()
    }

    /// The broker acknowledges what is in flight; returns the transfers that covered all their requests.
    pub(super) fn acknowledge(&mut self, now: Time) -> Vec<(usize, ReplicaStatus)> {
        let mut ended = Vec::new();
        for turn in std::mem::take(&mut self.in_flight) {
            let covered = self.coordinator.acknowledged(&turn, now);
            let sending = self.sending.get(&turn.transfer).copied();
            if covered.is_some_and(|covered| covered.is_complete)
                && let Some(Sending { app, version, is_repeat, .. }) = sending
            {
                self.sending.remove(&turn.transfer);
                if !is_repeat {
                    ended.push((app, ReplicaStatus::Delivered(Some(version))));
                }
            }
        }
        ended
    }
}
