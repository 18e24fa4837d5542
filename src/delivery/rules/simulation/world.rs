//! The world around the proxies, and its faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::broker::{Message, Session};
use super::device::{Device, Task};
use super::proxy::{Disk, Proxy, Registry};
use super::random::Random;
use super::{APPS, BEGIN, CALM, DEVICES, END, LAST_TASK, TICK};
use crate::delivery::rules::request::Origin;
use crate::mqtt::chunk::Encoder;
use crate::mqtt::topic::{App, Channel, Layout};
use crate::util::clock::Time;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Time,
    pub(super) apps: Vec<App>,
    pub(super) registry: Registry,
    pub(super) devices: Vec<Device>,
    proxies: Vec<Proxy>,
    /// The persistent session of each proxy.
    sessions: Vec<Session>,
    /// The retained presence message of each proxy: whether it is online.
    presences: Vec<Option<bool>>,
    broker_down_until: Option<Time>,
    /// When the broker crashed.
    pub(super) crashes: Vec<Time>,
    /// When a proxy was killed.
    pub(super) kills: Vec<Time>,
    pub(super) is_group: bool,
    /// In how many chunks each app was sent last.
    pub(super) totals: Vec<u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        let name = |index: usize| format!("app-{index}").as_str().into();
        let apps: Vec<_> = (0..APPS)
            .map(|index| App { channel: Arc::clone(&channel), layout: Layout::Plain, name: name(index) })
            .collect();
        let is_group = random.below(3) == 0;
        let names = if is_group { &["one", "two"][..] } else { &["one"] };
        let mut registry = Registry { tags: vec![(0, 0); APPS], modules: HashMap::new() };
        for app in 0..APPS {
            let size = random.size();
            registry.push(app, 0, size);
        }
        // Each knows from its disk that nothing was sent before.
        let proxy = |name: &&str| Proxy::new(name, is_group, &apps, Disk::default(), BEGIN);
        let proxies: Vec<_> = names.iter().map(proxy).collect();
        Self {
            random,
            now: BEGIN,
            registry,
            devices: (0..DEVICES).map(|_| Device::default()).collect(),
            sessions: vec![Session::new(); proxies.len()],
            presences: vec![None; proxies.len()],
            proxies,
            apps,
            broker_down_until: None,
            crashes: Vec::new(),
            kills: Vec::new(),
            is_group,
            totals: vec![0; APPS],
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.now.since(BEGIN)
    }

    pub(super) fn run(&mut self) {
        while self.age() < END {
            self.now = self.now + TICK;
            if self.age() < CALM {
                self.break_something();
            }
            self.mend();
            self.request();
            for index in 0..self.proxies.len() {
                self.proxy(index);
            }
            self.watch();
            let names: Vec<_> = self.apps.iter().map(|app| &*app.name).collect();
            self.devices.iter_mut().for_each(|device| device.poll(&names, self.now));
        }
    }

    fn break_something(&mut self) {
        let now = self.now;
        if self.random.once_in(300) && self.broker_down_until.is_none() {
            self.crash();
        }
        for index in 0..self.proxies.len() {
            if self.random.once_in(200) {
                self.disconnect(index);
            }
            if self.random.once_in(200) && self.proxies[index].dead_until.is_none() {
                self.kill(index);
            }
            if self.random.once_in(300) {
                let until = now + self.random.seconds(12);
                self.proxies[index].stop(until);
            }
            if self.random.once_in(200) && self.proxies[index].dead_until.is_none() {
                self.proxies[index].damage(now);
            }
        }
        for device in &mut self.devices {
            if self.random.once_in(300) && device.lost.is_none() {
                device.lost = Some((now, 0));
                device.breaks.push(now);
            }
        }
        if self.random.once_in(100) {
            let app = self.random.index(APPS);
            let (version, size) = self.registry.tags[app];
            let size = if self.random.below(3) == 0 { self.random.size() } else { size };
            self.registry.push(app, version + 1, size);
        }
    }

    /// While nothing is broken, one replica sends an app, in a number of chunks that no other has in memory for another
    /// version of it.
    fn watch(&self) {
        if !self.is_group || !self.proxies.iter().all(Proxy::is_up) {
            return;
        }
        let settled_at = self.proxies.iter().map(Proxy::settled_at).max().unwrap_or_default();
        for (index, proxy) in self.proxies.iter().enumerate() {
            for sending in proxy.sends(settled_at) {
                for other in
                    self.proxies.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other)
                {
                    assert!(other.sends(settled_at).all(|other| other.app != sending.app), "two replicas send one app");
                    let app = &self.apps[sending.app];
                    assert!(
                        other.coordinator.versions.clash(app, &sending.version, self.now).is_none(),
                        "a clash that another one knows"
                    );
                }
            }
        }
    }

    /// The broker crashes, and loses its sessions.
    fn crash(&mut self) {
        self.broker_down_until = Some(self.now + self.random.seconds(3));
        self.crashes.push(self.now);
        for (index, session) in self.sessions.iter_mut().enumerate() {
            for message in session.drain(..) {
                if let Message::Request { task: (device, task), .. } = message {
                    self.devices[device].tasks[task].proxies.retain(|proxy| *proxy != index);
                }
            }
        }
        self.devices.iter_mut().for_each(|device| device.lost = device.lost.or(Some((self.now, 0))));
        self.proxies.iter_mut().for_each(|proxy| proxy.disconnect(self.now));
    }

    /// The link of a proxy breaks, and the broker publishes its will.
    fn disconnect(&mut self, index: usize) {
        if self.proxies[index].is_up() && self.broker_down_until.is_none() {
            self.announce(index, false);
        }
        self.proxies[index].disconnect(self.now);
    }

    /// Publishes the presence message of a proxy, retained.
    fn announce(&mut self, index: usize, is_online: bool) {
        self.presences[index] = Some(is_online);
        let instance = &self.proxies[index].name;
        let message = Message::Presence { instance: instance.clone(), is_online, is_retained: false };
        self.sessions.iter_mut().for_each(|session| session.push_back(message.clone()));
    }

    /// The subscriptions of a proxy are back: it receives what is retained.
    fn subscribe(&mut self, index: usize) {
        for (proxy, is_online) in self.proxies.iter().zip(&self.presences) {
            if let Some(is_online) = *is_online {
                let message = Message::Presence { instance: proxy.name.clone(), is_online, is_retained: true };
                self.sessions[index].push_back(message);
            }
        }
        self.proxies[index].subscribe(self.now);
        self.announce(index, true);
    }

    fn kill(&mut self, index: usize) {
        self.kills.push(self.now);
        let is_other_dead = self.proxies.iter().any(|proxy| proxy.dead_until.is_some());
        self.disconnect(index);
        let proxy = &mut self.proxies[index];
        // Of several replicas one may be away for long.
        let longest = if self.is_group && !is_other_dead && self.random.once_in(3) { 60 } else { 3 };
        proxy.dead_until = Some(self.now + self.random.seconds(longest));
        // A proxy that loses its state after a guess guesses twice, and so do replicas, which begin with a guess.
        if !self.is_group && !proxy.has_guessed && self.random.below(4) == 0 {
            proxy.lose_state();
            let tasks = self.devices.iter_mut().flat_map(|device| &mut device.tasks);
            tasks.for_each(|task| task.proxies.clear());
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
                proxy.restart(&self.apps, now);
            }
            if proxy.dead_until.is_none() && proxy.down_until <= now {
                proxy.connect(now);
            }
        }
        self.devices.iter_mut().for_each(|device| device.reconnect(now));
    }

    /// A device starts a task, and publishes its request.
    fn request(&mut self) {
        if self.broker_down_until.is_some() || self.age() > LAST_TASK || !self.random.once_in(60) {
            return;
        }
        let (app, index) = (self.random.index(APPS), self.random.index(DEVICES));
        let device = &mut self.devices[index];
        let open = device.tasks.iter().filter(|task| task.app == app && task.module.is_none());
        // With more tasks at once than two, and joins between, the passes run out.
        if device.lost.is_some() || open.count() >= 2 {
            return;
        }
        device.tasks.push(Task::new(app, self.now, (0..self.proxies.len()).collect()));
        let task = (index, device.tasks.len() - 1);
        for (proxy, session) in self.proxies.iter().zip(&mut self.sessions) {
            session.push_back(Message::Request { app, task, is_queued: !proxy.is_up() });
        }
    }

    fn proxy(&mut self, index: usize) {
        let now = self.now;
        if self.proxies[index].dead_until.is_some() || self.proxies[index].still_until > now {
            return;
        }
        if self.proxies[index].is_up() {
            while let Some(message) = self.sessions[index].pop_front() {
                self.receive(index, message);
            }
            if !self.proxies[index].is_subscribed() {
                self.subscribe(index);
            }
        }
        let mut published = self.proxies[index].work(&self.apps, &self.registry, &mut self.random, now);
        if self.proxies[index].is_up() {
            published.extend(self.proxies[index].acknowledge(now));
            self.publish(index);
        }
        if self.is_group {
            let instance = &self.proxies[index].name;
            for (app, status) in published {
                let message = Message::Status { instance: instance.clone(), app, status };
                self.sessions.iter_mut().for_each(|session| session.push_back(message.clone()));
            }
        }
    }

    fn receive(&mut self, index: usize, message: Message) {
        let (now, proxy) = (self.now, &mut self.proxies[index]);
        match message {
            Message::Request { app, is_queued, .. } => {
                proxy.request(app, &self.apps, if is_queued { Origin::Queue } else { Origin::Device }, now);
            }
            Message::Status { instance, app, status } => {
                proxy.coordinator.replica_status(&instance, &self.apps[app], status, now);
            }
            Message::Presence { instance, is_online, is_retained } => {
                proxy.coordinator.presence(&instance, is_online, is_retained, self.is_group, now);
            }
        }
    }

    /// Chunks go to all devices that are connected.
    fn publish(&mut self, index: usize) {
        let count = self.random.below(5);
        for (turn, sending) in self.proxies[index].publish(count, self.now) {
            let plan = sending.version.plan;
            let (version, _) = self.registry.modules[&sending.version.digest];
            self.totals[sending.app] = plan.total_chunks();
            let encoder = Encoder::new(&self.apps[sending.app].name, plan.total_chunks());
            let message = encoder.message(turn.index, &vec![version; plan.chunk(turn.index).1 as usize]);
            self.devices.iter_mut().for_each(|device| device.receive(&message));
            self.proxies[index].in_flight.push_back(turn);
        }
    }
}
