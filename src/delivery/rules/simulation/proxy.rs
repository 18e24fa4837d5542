//! A proxy: the coordinator, and the disk and connections of its process.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::broker::Status;
use super::random::Random;
use super::{BEGIN, CHUNK_SIZE, TICK};
use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::action::{Action, Options, Saved};
use crate::delivery::rules::coordinator::Coordinator;
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
    pub(super) coordinator: Coordinator<()>,
    pub(super) disk: Disk,
    writes: VecDeque<Write>,
    next_request: RequestId,
    /// Transfers whose module is being fetched: what is fetched, what for, and when it is there.
    fetches: Vec<(TransferId, usize, Purpose, Option<Digest>, Time)>,
    purposes: HashMap<TransferId, (usize, Purpose, Digest)>,
    sending: HashMap<TransferId, Sending>,
    pub(super) in_flight: VecDeque<Turn>,
    /// Until when the process is dead.
    pub(super) dead_until: Option<Time>,
    /// Since when the connections are down.
    pub(super) down_since: Option<Time>,
    pub(super) down_until: Time,
    /// Whether its presence message is retained.
    is_announced: bool,
}

impl Proxy {
    pub(super) fn new(name: &str, is_replica: bool, apps: &[App], disk: Disk, now: Time) -> Self {
        let replica = is_replica.then(|| name.to_owned());
        let passes_per_minute = std::num::NonZeroU32::new(10).unwrap();
        let limits = Limits { open_requests: 100, passes_per_minute, publish_rate: None, repeats: 1 << 30 };
        let options = Options { limits, chunk_size: CHUNK_SIZE, tag_moves: TagMoves::Fresh, replica };
        let versions = disk.versions.iter().map(|(app, versions)| (apps[*app].clone(), versions.clone())).collect();
        let saved = Saved { versions, uncertain_until: disk.uncertain_until, present: disk.present };
        Self {
            name: name.into(),
            is_replica,
            coordinator: Coordinator::new(options, saved, now),
            disk,
            writes: VecDeque::new(),
            next_request: 0,
            fetches: Vec::new(),
            purposes: HashMap::new(),
            sending: HashMap::new(),
            in_flight: VecDeque::new(),
            dead_until: None,
            down_since: None,
            down_until: BEGIN,
            is_announced: false,
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

    pub(super) fn is_up(&self) -> bool {
        self.dead_until.is_none() && self.down_since.is_none()
    }

    /// Starts again with what is on the disk.
    pub(super) fn restart(&mut self, apps: &[App], now: Time) {
        let (disk, next_request) = (self.disk.clone(), self.next_request);
        let (down_since, down_until, is_announced) = (self.down_since, self.down_until, self.is_announced);
        *self = Self::new(&self.name, self.is_replica, apps, disk, now);
        (self.next_request, self.down_since, self.down_until) = (next_request, down_since, down_until);
        self.is_announced = is_announced;
        if is_announced {
            self.coordinator.presence(&self.name, false, true, false, now);
        }
        for (id, app, arrived) in self.disk.requests.clone() {
            self.coordinator.request(&apps[app], Request::new(id, arrived, Origin::Disk, ()), now);
        }
    }

    /// The state folder is lost.
    pub(super) fn lose_state(&mut self) {
        self.disk = Disk::default();
    }

    /// A request arrives. It is acknowledged when it is on disk.
    pub(super) fn request(&mut self, app: usize, apps: &[App], origin: Origin, now: Time) {
        let id = self.next_request;
        self.next_request += 1;
        self.disk.requests.push((id, app, now));
        self.coordinator.request(&apps[app], Request::new(id, now, origin, ()), now);
    }

    /// The connections break: the broker may or may not have what is in flight.
    pub(super) fn disconnect(&mut self, now: Time) {
        self.down_since = self.down_since.or(Some(now));
        self.down_until = now + TICK;
        for turn in std::mem::take(&mut self.in_flight) {
            self.coordinator.lost(&turn);
        }
    }

    pub(super) fn connect(&mut self, now: Time) {
        if let Some(since) = self.down_since.take() {
            self.coordinator.chunks_connected(now.since(since), now);
            self.coordinator.requests_connected(now.since(since), now);
        }
    }

    /// Does what the coordinator says; returns what is published on the status topic.
    pub(super) fn work(
        &mut self,
        apps: &[App],
        registry: &Registry,
        random: &mut Random,
        now: Time,
    ) -> Vec<(usize, Status)> {
        if self.is_up() {
            self.is_announced = true;
            self.writes.push_back(Write::Present(now));
        }
        self.coordinator.wake(now);
        for (id, app, purpose, root, _) in self.fetches.extract_if(.., |fetch| fetch.4 <= now).collect::<Vec<_>>() {
            let module = root.map_or(registry.tags[app], |root| registry.modules[&root]);
            let digest = digest(module);
            self.purposes.insert(id, (app, purpose, digest));
            let candidate = Candidate { root: digest, digest, size: module.1, may_move: true };
            self.coordinator.fetched(id, candidate, now);
        }
        let mut published = self.perform(apps, random, now);
        // One transaction has all that waits; it may take some ticks.
        if random.once_in(WRITE_TICKS) {
            self.write(now);
            published.extend(self.perform(apps, random, now));
        }
        published
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

    fn perform(&mut self, apps: &[App], random: &mut Random, now: Time) -> Vec<(usize, Status)> {
        let index = |app: &App| apps.iter().position(|one| one == app).unwrap();
        let mut published = Vec::new();
        while let Some(action) = self.coordinator.next_action() {
            match action {
                Action::Reject { .. } | Action::Joined { .. } => {}
                Action::Fetch { transfer, app, purpose, root } => {
                    self.fetches.push((transfer, index(&app), purpose, root, now + FETCH_TIME));
                }
                Action::PersistVersions { app, versions, transfer } => {
                    self.writes.push_back(Write::Versions(index(&app), versions, transfer));
                }
                Action::PersistUncertainty(until) => self.writes.push_back(Write::Uncertainty(until)),
                Action::CloseRequests(ids) => {
                    // The change may be lost with the process.
                    if random.below(4) > 0 {
                        self.writes.push_back(Write::CloseRequests(ids));
                    }
                }
                Action::Claim(app, version) => published.push((index(&app), Status::Serves(Some(version), true))),
                Action::Object(app, version) => published.push((index(&app), Status::Objects(version))),
                Action::Heartbeat(app) => published.push((index(&app), Status::Serves(None, false))),
                Action::Send { transfer, plan } => self.send(transfer, plan, now),
                Action::End { transfer, .. } => {
                    self.fetches.retain(|fetch| fetch.0 != transfer);
                    self.sending.remove(&transfer);
                }
            }
        }
        if self.is_up() { published } else { Vec::new() }
    }

    fn send(&mut self, transfer: TransferId, plan: ChunkPlan, now: Time) {
        let (app, purpose, digest) = self.purposes[&transfer];
        let version = Version { root: None, digest, plan };
        self.sending.insert(transfer, Sending { app, version, since: now, is_repeat: purpose == Purpose::Repeat });
    }

    /// Takes up to `count` chunks to publish.
    pub(super) fn publish(&mut self, count: u64, now: Time) -> Vec<(Turn, Sending)> {
        let turns = (0..count).map_while(|_| self.coordinator.next_turn(now));
        turns.filter_map(|turn| Some((turn, *self.sending.get(&turn.transfer)?))).collect()
    }

    /// The broker acknowledges what is in flight; returns the transfers that covered all their requests.
    pub(super) fn acknowledge(&mut self, now: Time) -> Vec<(usize, Status)> {
        let mut ended = Vec::new();
        for turn in std::mem::take(&mut self.in_flight) {
            let covered = self.coordinator.acknowledged(&turn, now);
            let sending = self.sending.get(&turn.transfer).copied();
            if covered.is_some_and(|covered| covered.is_complete)
                && let Some(Sending { app, version, is_repeat, .. }) = sending
            {
                self.sending.remove(&turn.transfer);
                if !is_repeat {
                    ended.push((app, Status::Ended(Some(version))));
                }
            }
        }
        ended
    }
}
