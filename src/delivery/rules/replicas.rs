//! Several proxies on one channel: who serves which request.
//!
//! Each replica hears every request and every status message; the broker's shared subscription gives each request to one
//! of them besides. That one opens a transfer, unless another is known to be at it: a replica takes every request for an
//! app that it is sending. What nobody is at after a while, because the one that got it is gone, is taken by another.
//!
//! Before its first chunk a replica publishes that it is sending, and waits until it hears that itself. The broker tells
//! all in one order: who heard of another for the same app before gives way. One that may have missed something waits a
//! little longer: whoever remembers another version of the app in as many chunks tells it of that.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// A replica that was not heard of for so long is gone; one that is at something is heard of every
/// [`HEARTBEAT_INTERVAL`].
const SILENCE: Duration = Duration::from_secs(6);
/// How often a replica that is at something says so, at least.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a request waits for somebody to be at it, for each replica that comes before this one.
const PATIENCE: Duration = Duration::from_secs(3);
/// A request that came while its app was being sent, so shortly before the end, may have been heard too late.
const OVERLAP: Duration = Duration::from_secs(1);
/// Requests that are watched.
const MAX_WATCHED: usize = 4096;

/// What this replica knows of the others.
#[derive(Debug)]
pub struct Replicas {
    me: String,
    /// When each was last heard.
    heard: HashMap<String, Time>,
    /// Who else is at which app.
    owners: HashMap<App, Owner>,
    /// Requests that nobody is known to have served, by arrival.
    watched: HashMap<App, Vec<Time>>,
    watched_count: usize,
    /// Apps of which the broker gave this replica a request.
    assigned: HashMap<App, Time>,
}

/// Another replica at an app.
#[derive(Debug)]
struct Owner {
    instance: String,
    /// Since when it is known to be at it.
    since: Time,
    /// Whether it has claimed it.
    is_sending: bool,
}

impl Replicas {
    /// A replica called `me` that has heard of no other.
    #[must_use]
    pub fn new(me: String) -> Self {
        Self {
            me,
            heard: HashMap::new(),
            owners: HashMap::new(),
            watched: HashMap::new(),
            watched_count: 0,
            assigned: HashMap::new(),
        }
    }

    /// A request was heard, as everybody hears it.
    pub fn witness(&mut self, app: &App, now: Time) {
        if self.watched_count < MAX_WATCHED {
            self.watched_count += 1;
            self.watched.entry(app.clone()).or_default().push(now);
        }
    }

    /// The broker gave this replica a request.
    pub fn assign(&mut self, app: &App, now: Time) {
        if self.assigned.len() < MAX_WATCHED {
            self.assigned.insert(app.clone(), now);
        }
    }

    /// Another replica said that it is at an app; `is_sending` if it claims it.
    pub fn works(&mut self, instance: &str, app: &App, is_sending: bool, now: Time) {
        if !self.hear(instance, now) {
            return;
        }
        let is_held = self.is_sent_by_another(app, now) || !is_sending && self.is_owned(app, now);
        match self.owners.get_mut(app) {
            Some(owner) if owner.instance == instance => owner.is_sending |= is_sending,
            // Who claimed it first stays, and so does who was there first while nobody has claimed it.
            _ if is_held => {}
            _ => drop(self.owners.insert(app.clone(), Owner { instance: instance.to_owned(), since: now, is_sending })),
        }
    }

    /// Another replica said that it is done with an app, or failed.
    pub fn done(&mut self, instance: &str, app: &App, now: Time) {
        if self.hear(instance, now) {
            let since = match self.owners.get(app) {
                Some(owner) if owner.instance != instance && self.is_owned(app, now) => return,
                Some(owner) if owner.instance == instance => owner.since,
                _ => Time::default(),
            };
            let is_done = |arrived: Time| arrived <= since || now.since(arrived) >= OVERLAP;
            self.owners.remove(app);
            if self.assigned.get(app).is_some_and(|at| is_done(*at)) {
                self.assigned.remove(app);
            }
            self.drop_watched(app, is_done);
        }
    }

    /// Another replica is gone.
    pub fn left(&mut self, instance: &str) {
        self.heard.remove(instance);
    }

    /// Whether another replica is at `app`.
    #[must_use]
    pub fn is_owned(&self, app: &App, now: Time) -> bool {
        self.owners.get(app).is_some_and(|owner| self.is_alive(&owner.instance, now))
    }

    /// Whether another replica has claimed `app`.
    #[must_use]
    pub fn is_sent_by_another(&self, app: &App, now: Time) -> bool {
        self.is_owned(app, now) && self.owners.get(app).is_some_and(|owner| owner.is_sending)
    }

    /// Takes the requests for `app` that are this replica's, because it is at it (`mine`) or because they were assigned to
    /// it and nobody else is.
    pub fn take(&mut self, app: &App, mine: bool, now: Time) -> Vec<Time> {
        let is_assigned = self.assigned.contains_key(app) && !self.is_owned(app, now);
        if !(mine || is_assigned && self.watched.contains_key(app)) {
            return Vec::new();
        }
        self.assigned.remove(app);
        let arrivals = self.watched.remove(app).unwrap_or_default();
        self.watched_count -= arrivals.len();
        arrivals
    }

    /// This replica gives way: its `count` requests for `app` are watched again. Who is at it has heard them in time.
    pub fn give_back(&mut self, app: &App, count: usize, now: Time) {
        let heard = self.owners.get(app).map_or(now, |owner| owner.since);
        self.watched_count += count;
        self.watched.entry(app.clone()).or_default().extend(vec![heard; count]);
    }

    /// Takes what nobody is at.
    pub fn orphans(&mut self, now: Time) -> Vec<(App, Vec<Time>)> {
        self.heard.retain(|_, heard| now.since(*heard) < SILENCE);
        let heard = &self.heard;
        self.owners.retain(|_, owner| heard.contains_key(&owner.instance));
        let lost: Vec<_> = self.assigned.extract_if(|_, at| now.since(*at) >= PATIENCE).collect();
        for (app, at) in lost {
            // Assigned, but not heard by everybody: the other connection was down.
            if !self.watched.contains_key(&app) && !self.owners.contains_key(&app) {
                self.watched_count += 1;
                self.watched.insert(app, vec![at]);
            }
        }
        let is_orphan = |app: &App, arrivals: &[Time]| {
            let oldest = arrivals.iter().min().copied().unwrap_or(now);
            !self.owners.contains_key(app) && now.since(oldest) >= PATIENCE * (1 + self.rank(app))
        };
        let orphans: Vec<_> = self
            .watched
            .iter()
            .filter(|(app, arrivals)| is_orphan(app, arrivals))
            .map(|(app, _)| app.clone())
            .collect();
        let mut taken = Vec::new();
        for app in orphans {
            // Who waited longer than a device does is forgotten.
            self.drop_watched(&app, |arrived| now.since(arrived) >= TASK_TIMEOUT);
            let arrivals = self.watched.remove(&app).unwrap_or_default();
            self.watched_count -= arrivals.len();
            if !arrivals.is_empty() {
                taken.push((app, arrivals));
            }
        }
        taken
    }

    fn hear(&mut self, instance: &str, now: Time) -> bool {
        let is_other = instance != self.me;
        if is_other {
            self.heard.insert(instance.to_owned(), now);
        }
        is_other
    }

    fn is_alive(&self, instance: &str, now: Time) -> bool {
        self.heard.get(instance).is_some_and(|heard| now.since(*heard) < SILENCE)
    }

    /// How many replicas come before this one when nobody is at `app`.
    fn rank(&self, app: &App) -> u32 {
        let weight = |instance: &str| {
            let mut hasher = DefaultHasher::new();
            (instance, app).hash(&mut hasher);
            hasher.finish()
        };
        let mine = weight(&self.me);
        let before = self.heard.keys().filter(|instance| weight(instance) > mine).count();
        u32::try_from(before).unwrap_or(u32::MAX).min(8)
    }

    fn drop_watched(&mut self, app: &App, is_done: impl Fn(Time) -> bool) {
        if let Some(arrivals) = self.watched.get_mut(app) {
            let before = arrivals.len();
            arrivals.retain(|arrived| !is_done(*arrived));
            self.watched_count -= before - arrivals.len();
            if arrivals.is_empty() {
                self.watched.remove(app);
            }
        }
    }
}
