//! The delivery rules against stock proplets, in simulated time: brokers crash, links break, proxies are killed and lose
//! their state, devices come and go, tags move, replicas share a channel.
//!
//! Faults end at [`CALM`]. Then no module may be a mixture, and every task must have its module that asked late enough
//! before its end, was heard by a proxy, and has no chunks of another version in its way.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::replicas::Replicas;
use super::schedule::{Admission, Cut, Limits, RequestId, Schedule, Start, TransferId, Turn};
use super::versions::{Candidate, Sent, Versions};
use crate::delivery::plan::ChunkPlan;
use crate::device::Assemblies;
use crate::mqtt::chunk::Encoder;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::{App, Channel, Layout};
use crate::oci::digest::Digest;
use crate::util::clock::Time;

const BEGIN: Time = Time(1_000_000_000);
const TICK: Duration = Duration::from_millis(100);
/// When faults end, and when the last task asks.
const CALM: Duration = Duration::from_secs(45);
const LAST_TASK: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(120);
/// Time that the rules need after the last fault: devices come back within 7 s, an echo takes 6 s, tasks poll every 5 s,
/// and a replica that is gone is noticed after 6 s.
const MARGIN: Duration = Duration::from_secs(25);
const CHUNK_SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();
const DEVICES: usize = 3;
const APPS: usize = 2;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn once_in(&mut self, ticks: u64) -> bool {
        self.below(ticks) == 0
    }

    /// The size of a module: one chunk, or enough of them that there are numbers to choose from.
    fn size(&mut self) -> u64 {
        if self.once_in(4) { 1 + self.below(10) } else { 110 + self.below(60) }
    }

    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most * 1000))
    }
}

/// What is at a registry: each module is its version number, over and over.
struct Registry {
    /// The number and size of what each app's tag means.
    tags: Vec<(u8, u64)>,
    modules: HashMap<Digest, (u8, u64)>,
}

impl Registry {
    fn push(&mut self, app: usize, version: u8, size: u64) {
        self.tags[app] = (version, size);
        self.modules.insert(digest((version, size)), (version, size));
    }
}

fn digest((version, size): (u8, u64)) -> Digest {
    Digest::of(format!("{version} {size}").as_bytes())
}

struct Device {
    assemblies: Assemblies,
    /// When it lost the broker, if it has, and how often it has tried since.
    lost: Option<(Time, u32)>,
    /// When its link broke, but not the broker: nobody is told of that.
    breaks: Vec<Time>,
    tasks: Vec<Task>,
}

struct Task {
    app: usize,
    asked: Time,
    polls: u32,
    /// The proxies that know of it.
    hearers: Vec<usize>,
    module: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Load {
    app: usize,
    digest: Digest,
    plan: ChunkPlan,
    is_repeat: bool,
}

/// What survives a proxy.
#[derive(Default, Clone)]
struct Disk {
    requests: Vec<(RequestId, usize, Time)>,
    versions: HashMap<usize, Vec<Sent>>,
    unsure_until: Time,
    is_lost: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Request,
    Resume,
    Repeat,
}

enum Step {
    Fetch(Purpose),
    Claim(Load),
    /// Others may object.
    Object(Load),
}

struct Proxy {
    name: String,
    schedule: Schedule<Load>,
    versions: Versions,
    replicas: Option<Replicas>,
    disk: Disk,
    next_request: RequestId,
    /// Deliveries that are not yet sending, and when they go on.
    deliveries: Vec<(TransferId, usize, Step, Time)>,
    in_flight: VecDeque<Turn<Load>>,
    /// Until when the process is dead.
    dead_until: Option<Time>,
    /// Since when the link is down.
    down_since: Option<Time>,
    down_until: Time,
}

/// Who tells, of which app, what module it knows, and whether it is done.
type Told = (String, usize, Option<(Digest, ChunkPlan)>, bool);

struct World {
    random: Random,
    now: Time,
    apps: Vec<App>,
    registry: Registry,
    devices: Vec<Device>,
    proxies: Vec<Proxy>,
    broker_down_until: Option<Time>,
    /// Requests that the broker keeps for a proxy that is alone: the app, and whose task it is.
    kept: VecDeque<(usize, (usize, usize))>,
    has_lost_state: bool,
    /// When the broker crashed.
    crashes: Vec<Time>,
    /// When a proxy was killed.
    kills: Vec<Time>,
    /// What replicas tell, in the broker's order.
    told: VecDeque<Told>,
    is_group: bool,
    /// In how many chunks each app was sent last.
    totals: Vec<u64>,
}

fn limits() -> Limits {
    let passes_per_minute = NonZeroU32::new(10).unwrap();
    Limits { open_requests: 100, passes_per_minute, publish_rate: None, repeats: 1 << 30 }
}

impl Proxy {
    fn new(name: &str, is_group: bool) -> Self {
        Self {
            name: name.into(),
            schedule: Schedule::new(limits()),
            versions: Versions::default(),
            replicas: is_group.then(|| Replicas::new(name.into())),
            disk: Disk::default(),
            next_request: 0,
            deliveries: Vec::new(),
            in_flight: VecDeque::new(),
            dead_until: None,
            down_since: None,
            down_until: BEGIN,
        }
    }

    fn is_up(&self) -> bool {
        self.dead_until.is_none() && self.down_since.is_none()
    }

    fn request(&mut self, app: usize, apps: &[App], arrived: Time, now: Time) {
        let id = self.next_request;
        self.next_request += 1;
        self.disk.requests.push((id, app, arrived));
        self.admit(id, app, apps, arrived, Purpose::Request, now);
    }

    fn admit(&mut self, id: RequestId, app: usize, apps: &[App], arrived: Time, purpose: Purpose, now: Time) {
        if let Ok(Admission::Opened(transfer)) = self.schedule.request(&apps[app], id, arrived, now) {
            self.deliveries.push((transfer, app, Step::Fetch(purpose), now + Duration::from_millis(300)));
        }
    }

    /// Starts again with what is on the disk.
    fn restart(&mut self, apps: &[App], now: Time) {
        let mut fresh = Self::new(&self.name, self.replicas.is_some());
        fresh.next_request = self.next_request;
        fresh.disk = self.disk.clone();
        if fresh.replicas.is_some() || std::mem::take(&mut fresh.disk.is_lost) {
            fresh.disk.unsure_until = fresh.versions.be_unsure(now);
        }
        fresh.versions.be_unsure_until(fresh.disk.unsure_until);
        let mut begun = Vec::new();
        for (app, versions) in &self.disk.versions {
            if fresh.versions.restore(apps[*app].clone(), versions.clone(), now) {
                begun.push(*app);
            }
        }
        for (id, app, arrived) in self.disk.requests.clone() {
            let purpose = if begun.contains(&app) { Purpose::Resume } else { Purpose::Request };
            fresh.admit(id, app, apps, arrived, purpose, now);
        }
        *self = fresh;
    }

    fn write_versions(&mut self, app: usize, apps: &[App]) {
        self.disk.versions.insert(app, self.versions.of(&apps[app]).to_vec());
    }

    fn close(&mut self, requests: &[RequestId]) {
        self.disk.requests.retain(|(id, ..)| !requests.contains(id));
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        let name = |index: usize| format!("app-{index}").as_str().into();
        let apps =
            (0..APPS).map(|index| App { channel: Arc::clone(&channel), layout: Layout::Plain, name: name(index) });
        let is_group = random.below(3) == 0;
        let proxies = if is_group { &["one", "two"][..] } else { &["one"] };
        let device =
            |_| Device { assemblies: Assemblies::default(), lost: None, breaks: Vec::new(), tasks: Vec::new() };
        let mut registry = Registry { tags: vec![(0, 0); APPS], modules: HashMap::new() };
        for app in 0..APPS {
            let size = random.size();
            registry.push(app, 0, size);
        }
        Self {
            random,
            now: BEGIN,
            apps: apps.collect(),
            registry,
            devices: (0..DEVICES).map(device).collect(),
            proxies: proxies.iter().map(|name| Proxy::new(name, is_group)).collect(),
            broker_down_until: None,
            kept: VecDeque::new(),
            has_lost_state: false,
            crashes: Vec::new(),
            kills: Vec::new(),
            told: VecDeque::new(),
            is_group,
            totals: vec![0; APPS],
        }
    }

    fn age(&self) -> Duration {
        self.now.since(BEGIN)
    }

    fn run(&mut self) {
        while self.age() < END {
            self.now = self.now + TICK;
            if self.age() < CALM {
                self.break_something();
            }
            self.mend();
            self.ask();
            self.tell();
            for index in 0..self.proxies.len() {
                self.proxy(index);
            }
            self.poll();
        }
    }

    fn break_something(&mut self) {
        let now = self.now;
        if self.random.once_in(300) && self.broker_down_until.is_none() {
            self.broker_down_until = Some(now + self.random.seconds(3));
            for (_, (device, task)) in self.kept.drain(..) {
                self.devices[device].tasks[task].hearers.clear();
            }
            self.told.clear();
            self.crashes.push(now);
            self.devices.iter_mut().for_each(|device| device.lost = device.lost.or(Some((now, 0))));
            (0..self.proxies.len()).for_each(|index| self.cut(index));
        }
        for index in 0..self.proxies.len() {
            if self.random.once_in(200) {
                self.cut(index);
            }
            // Two replicas that are gone at once have nobody to hear the requests.
            let alone = !self.is_group || self.proxies.iter().all(|proxy| proxy.dead_until.is_none());
            if self.random.once_in(200) && alone && self.proxies[index].dead_until.is_none() {
                self.cut(index);
                let until = now + self.random.seconds(3);
                // Who loses it twice within minutes guesses twice, and so do replicas, which begin with a guess.
                let loses_state = !self.is_group && !self.has_lost_state && self.random.below(4) == 0;
                self.has_lost_state |= loses_state;
                self.kills.push(now);
                if self.is_group {
                    // What a replica heard and had not yet taken is not on its disk.
                    let tasks = self.devices.iter_mut().flat_map(|device| &mut device.tasks);
                    let young = tasks.filter(|task| now.since(task.asked) < Duration::from_secs(10));
                    young.for_each(|task| task.hearers.retain(|hearer| *hearer != index));
                }
                let proxy = &mut self.proxies[index];
                proxy.dead_until = Some(until);
                if loses_state {
                    proxy.disk = Disk { is_lost: true, ..Disk::default() };
                    let tasks = self.devices.iter_mut().flat_map(|device| &mut device.tasks);
                    tasks.for_each(|task| task.hearers.clear());
                }
            }
        }
        for device in &mut self.devices {
            if self.random.once_in(300) && device.lost.is_none() {
                device.lost = Some((now, 0));
                device.breaks.push(now);
            }
        }
        if self.random.once_in(100) {
            let app = usize::try_from(self.random.below(APPS as u64)).unwrap();
            let (version, size) = self.registry.tags[app];
            let size = if self.random.below(3) == 0 { self.random.size() } else { size };
            self.registry.push(app, version + 1, size);
        }
    }

    /// The link of a proxy breaks: the broker may or may not have what is in flight.
    fn cut(&mut self, index: usize) {
        let proxy = &mut self.proxies[index];
        proxy.down_since = proxy.down_since.or(Some(self.now));
        proxy.down_until = self.now + TICK;
        for turn in std::mem::take(&mut proxy.in_flight) {
            proxy.schedule.lost(turn.id, turn.position);
        }
    }

    fn mend(&mut self) {
        let now = self.now;
        self.broker_down_until = self.broker_down_until.filter(|until| *until > now);
        if self.broker_down_until.is_some() {
            return;
        }
        for proxy in &mut self.proxies {
            if proxy.dead_until.is_some_and(|until| until <= now) {
                let down = (proxy.down_since, proxy.down_until);
                proxy.restart(&self.apps, now);
                (proxy.down_since, proxy.down_until) = down;
            }
            if proxy.dead_until.is_none()
                && proxy.down_until <= now
                && let Some(since) = proxy.down_since.take()
            {
                proxy.schedule.recover(now.since(since), now);
                if self.is_group {
                    proxy.disk.unsure_until = proxy.versions.be_unsure(now);
                }
            }
        }
        for device in &mut self.devices {
            // 1, 3, 7 … s after the loss.
            while let Some((lost, tries)) = &mut device.lost
                && now.since(*lost) >= Duration::from_secs((2 << *tries) - 1)
            {
                *tries += 1;
                if now.since(*lost) < Duration::from_secs((2 << (*tries - 1)) - 1) + TICK {
                    device.lost = None;
                }
            }
        }
    }

    fn ask(&mut self) {
        if self.broker_down_until.is_some() || self.age() > LAST_TASK || !self.random.once_in(60) {
            return;
        }
        let app = usize::try_from(self.random.below(APPS as u64)).unwrap();
        let index = usize::try_from(self.random.below(DEVICES as u64)).unwrap();
        let now = self.now;
        let device = &mut self.devices[index];
        let lately = device.tasks.iter().filter(|task| task.app == app && task.module.is_none());
        // With more tasks at once than two, and joins between, the passes run out.
        if device.lost.is_some() || lately.count() >= 2 {
            return;
        }
        device.tasks.push(Task { app, asked: now, polls: 0, hearers: vec![0], module: None });
        if self.is_group {
            let chosen = usize::try_from(self.random.below(2)).unwrap();
            let mut hearers = Vec::new();
            for (index, proxy) in self.proxies.iter_mut().enumerate().filter(|(_, proxy)| proxy.is_up()) {
                let replicas = proxy.replicas.as_mut().unwrap();
                if index == chosen {
                    replicas.assign(&self.apps[app], now);
                }
                replicas.witness(&self.apps[app], now);
                hearers.push(index);
            }
            device.tasks.last_mut().unwrap().hearers = hearers;
        } else {
            self.kept.push_back((app, (index, device.tasks.len() - 1)));
        }
    }

    /// The broker tells all replicas what each told.
    fn tell(&mut self) {
        let now = self.now;
        for (name, app, module, is_done) in std::mem::take(&mut self.told) {
            for proxy in self.proxies.iter_mut().filter(|proxy| proxy.is_up()) {
                let (replicas, app_name) = (proxy.replicas.as_mut().unwrap(), &self.apps[app]);
                if proxy.name == name {
                    let claim = proxy
                        .deliveries
                        .iter()
                        .position(|(_, claimed, step, _)| *claimed == app && matches!(step, Step::Claim(_)));
                    let (Some(claim), Some(_)) = (claim, module) else { continue };
                    let (id, _, Step::Claim(load), _) = proxy.deliveries.remove(claim) else { unreachable!() };
                    if replicas.is_sent_by_another(app_name, now) {
                        let requests = proxy.schedule.abandon(id);
                        replicas.give_back(app_name, requests.len(), now);
                        proxy.close(&requests);
                        proxy.versions.end(app_name, load.digest, now);
                    } else if proxy.versions.is_unsure(now) {
                        proxy.deliveries.push((id, app, Step::Object(load), now + Duration::from_millis(500)));
                    } else {
                        start(proxy, id, load, &self.apps, now);
                    }
                    continue;
                }
                if let Some((digest, plan)) = module {
                    if let Some(version) = proxy.versions.clash(app_name, digest, &plan, now).filter(|_| !is_done) {
                        self.told.push_back((proxy.name.clone(), app, Some((version.digest, version.plan)), true));
                    }
                    proxy.versions.hear(app_name, digest, plan, now);
                    let versions = proxy.versions.of(app_name).to_vec();
                    proxy.disk.versions.insert(app, versions);
                }
                if is_done {
                    replicas.done(&name, app_name, now);
                } else {
                    replicas.works(&name, app_name, module.is_some(), now);
                }
            }
        }
    }

    fn proxy(&mut self, index: usize) {
        let (now, apps) = (self.now, self.apps.clone());
        let proxy = &mut self.proxies[index];
        if proxy.dead_until.is_some() {
            return;
        }
        if proxy.is_up() {
            while let Some((app, _)) = self.kept.pop_front() {
                proxy.request(app, &apps, now, now);
            }
        }
        if let Some(replicas) = &mut proxy.replicas {
            let mut taken = replicas.orphans(now);
            for app in &apps {
                taken.push((app.clone(), replicas.take(app, proxy.schedule.is_open(app), now)));
            }
            let open: Vec<_> = proxy.schedule.open_apps().cloned().collect();
            for (app, arrivals) in taken {
                let app = apps.iter().position(|one| *one == app).unwrap();
                for arrived in arrivals {
                    proxy.request(app, &apps, arrived, now);
                }
            }
            if proxy.down_since.is_none() && self.random.once_in(10) {
                let open = open.iter().map(|app| apps.iter().position(|one| one == app).unwrap());
                self.told.extend(open.map(|app| (proxy.name.clone(), app, None, false)));
            }
        }
        for (id, app) in proxy.schedule.wake(now) {
            let app = apps.iter().position(|one| *one == app).unwrap();
            proxy.deliveries.push((id, app, Step::Fetch(Purpose::Repeat), now + TICK));
        }
        self.fetch(index);
        self.publish(index);
    }

    /// Modules arrive from the registry.
    fn fetch(&mut self, index: usize) {
        let (now, is_group) = (self.now, self.is_group);
        let proxy = &mut self.proxies[index];
        let due = |delivery: &mut (_, _, Step, Time)| delivery.3 <= now && !matches!(delivery.2, Step::Claim(_));
        for (id, app, step, _) in proxy.deliveries.extract_if(.., due).collect::<Vec<_>>() {
            let purpose = match step {
                Step::Fetch(purpose) => purpose,
                Step::Object(load) => {
                    if proxy.versions.clash(&self.apps[app], load.digest, &load.plan, now).is_none() {
                        start(proxy, id, load, &self.apps, now);
                        continue;
                    }
                    proxy.versions.withdraw(&self.apps[app], load.digest, &load.plan);
                    Purpose::Request
                }
                Step::Claim(_) => unreachable!(),
            };
            let latest = proxy.versions.latest(&self.apps[app]).filter(|_| purpose != Purpose::Request);
            let module = latest.map_or(self.registry.tags[app], |root| self.registry.modules[&root]);
            let digest = digest(module);
            let candidate = Candidate { root: digest, digest, size: module.1, may_move: true };
            let Ok(plan) = proxy.versions.begin(&self.apps[app], candidate, CHUNK_SIZE, now) else {
                let requests = proxy.schedule.abandon(id);
                proxy.close(&requests);
                continue;
            };
            proxy.write_versions(app, &self.apps);
            let load = Load { app, digest, plan, is_repeat: purpose == Purpose::Repeat };
            if is_group && !load.is_repeat {
                // What is not heard because the link is down is claimed again when it is up.
                proxy.deliveries.push((id, app, Step::Claim(load), now));
            } else {
                start(proxy, id, load, &self.apps, now);
            }
        }
        if proxy.is_up() {
            for (_, app, step, since) in &mut proxy.deliveries {
                if let Step::Claim(load) = step
                    && *since <= now
                {
                    self.told.push_back((proxy.name.clone(), *app, Some((load.digest, load.plan)), false));
                    *since = now + Duration::from_secs(1);
                }
            }
        }
    }

    fn publish(&mut self, index: usize) {
        let now = self.now;
        let proxy = &mut self.proxies[index];
        if !proxy.is_up() {
            return;
        }
        for turn in std::mem::take(&mut proxy.in_flight) {
            let Some(covered) = proxy.schedule.acknowledged(turn.id, turn.position, now) else { continue };
            // The change may be lost with the process.
            if self.random.below(4) > 0 {
                proxy.close(&covered.requests);
            }
            if covered.is_complete {
                proxy.versions.end(&self.apps[turn.load.app], turn.load.digest, now);
                proxy.write_versions(turn.load.app, &self.apps);
                if !turn.load.is_repeat && self.is_group {
                    let module = Some((turn.load.digest, turn.load.plan));
                    self.told.push_back((proxy.name.clone(), turn.load.app, module, true));
                }
            }
        }
        for _ in 0..self.random.below(5) {
            let Some(turn) = proxy.schedule.next_turn(now) else { break };
            let (version, _) = self.registry.modules[&turn.load.digest];
            let plan = turn.load.plan;
            self.totals[turn.load.app] = plan.total_chunks();
            let encoder = Encoder::new(&self.apps[turn.load.app].name, plan.total_chunks());
            let message = encoder.message(turn.index, &vec![version; plan.chunk(turn.index).1 as usize]);
            for device in self.devices.iter_mut().filter(|device| device.lost.is_none()) {
                device.assemblies.receive(&message, Instant::now());
            }
            proxy.in_flight.push_back(turn);
        }
    }

    fn poll(&mut self) {
        let now = self.now;
        for device in &mut self.devices {
            for task in device.tasks.iter_mut().filter(|task| task.module.is_none()) {
                let due = Duration::from_secs(5) * task.polls;
                if due <= TASK_TIMEOUT && now.since(task.asked) >= due {
                    task.polls += 1;
                    task.module = device.assemblies.take(&self.apps[task.app].name);
                }
            }
        }
    }

    fn judge(&self, seed: u64) {
        for device in &self.devices {
            for task in &device.tasks {
                let at = task.asked.since(BEGIN).as_secs_f64();
                if let Some(module) = &task.module {
                    let whole = module.iter().all(|byte| *byte == module[0])
                        && self
                            .registry
                            .modules
                            .values()
                            .any(|(version, size)| *version == module[0] && *size == module.len() as u64);
                    assert!(whole, "seed {seed}: the task of {at} s got a mixture {module:?}");
                    continue;
                }
                let name = &self.apps[task.app].name;
                // Nobody sends the rest of another version, and while it is there it is in the way.
                let (chunks, total_chunks) = device.assemblies.progress(name);
                let is_blocked = chunks > 0 && total_chunks != self.totals[task.app];
                let has_time = task.asked + TASK_TIMEOUT >= BEGIN + CALM + MARGIN;
                // A task that was served late takes the module of a later one, to which nothing is due where a new process
                // or another replica does not remember the first, or it was a device's link that broke; and for more
                // than two tasks the passes may run out.
                let rivals = device.tasks.iter().filter(|other| {
                    let (first, last) = (other.asked.min(task.asked), other.asked.max(task.asked));
                    other.app == task.app && first != last && last.since(first) < TASK_TIMEOUT
                });
                let firsts: Vec<_> = rivals.map(|rival| rival.asked.min(task.asked)).collect();
                let mut troubles = self.kills.iter().chain(&device.breaks);
                let is_forgotten = self.is_group || troubles.any(|at| firsts.iter().any(|first| at > first));
                let shares = firsts.len() > 1 || firsts.len() == 1 && is_forgotten;
                // Nor does it remember that the broker was lost after a task was served.
                let is_forgotten_too = self
                    .crashes
                    .iter()
                    .any(|crash| *crash >= task.asked && self.kills.iter().any(|kill| kill >= crash));
                let excused = task.hearers.is_empty()
                    || is_forgotten_too
                    || !has_time
                    || is_blocked
                    || shares
                    || device.breaks.iter().any(|broken| *broken >= task.asked);
                assert!(excused, "seed {seed}: the task of {at} s for {name} got nothing");
            }
        }
    }
}

fn start(proxy: &mut Proxy, id: TransferId, load: Load, apps: &[App], now: Time) {
    let cut = Cut { total_chunks: load.plan.total_chunks(), message_size: 20, module_size: load.plan.size() };
    let (app, digest) = (load.app, load.digest);
    if proxy.schedule.start(id, cut, load, now) == Start::Gone {
        proxy.versions.end(&apps[app], digest, now);
        proxy.write_versions(app, apps);
    }
}

/// Runs as many seeds as `SIMULATION_SEEDS` says.
#[test]
fn nothing_is_mixed_and_what_can_be_saved_is() {
    let seeds = std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1000);
    for seed in 1..=seeds {
        let mut world = World::new(seed);
        world.run();
        world.judge(seed);
    }
}
