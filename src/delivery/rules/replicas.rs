//! Several proxies on one channel: which one serves which request.
//!
//! Each replica receives every request, status and presence message on its own persistent session. The members that are
//! present are ranked for each app by rendezvous hashing: each hashes its identifier with the app, and the highest hash
//! owns the app. The owner opens a transfer at once; the next member waits [`PATIENCE`] for it, and so on, so that a request
//! whose owner is gone is served by another. Whoever sends an app serves every request for it, whatever its rank.
//!
//! Members may disagree on who is present, so ranks only save work. Correctness comes from the claim: before its first
//! chunk a replica publishes that it will send, and waits until the broker delivers that message to itself. The broker
//! delivers all messages of a topic in one order (MQTT 3.1.1, section 4.6), so the first claim is the same for all, and every
//! other claimant yields.
//!
//! A claim is a lease: while a replica sends, it publishes a numbered message each second, and it sends chunks only if it
//! received one that it had published within [`LEASE`]. A process that stood still receives, before its next such message,
//! what the others published meanwhile; a claim of another member among that is valid, and it yields.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::request::{Origin, Request};
use super::rule::{Rule, holds};
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::{App, Channel};
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::fair::Portions;

/// How long a replica stays owner without a message. A replica that serves something sends one every
/// [`HEARTBEAT_INTERVAL`].
#[doc(alias = "bound")]
const SILENCE: Duration = Duration::from_secs(6);
/// How long a replica sends chunks after it published a message that it has received: it ends before the others take over.
#[doc(alias = "bound")]
const LEASE: Duration = Duration::from_secs(5);
/// How long a replica waits for its own claim. While the connection is down, nothing can be sent either.
#[doc(alias = "bound")]
pub(super) const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a replica that serves something publishes a status message, at least.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a request waits for an owner, for each member with a higher rank.
#[doc(alias = "bound")]
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a request from the broker's queue waits for the messages behind it, which may say that it was served.
#[doc(alias = "bound")]
const QUEUE_MARGIN: Duration = Duration::from_secs(1);
/// A request that came while its app was being sent, so shortly before the end, may have arrived too late there.
const OVERLAP: Duration = Duration::from_secs(1);
/// Members with a higher rank for which a request waits.
#[doc(alias = "bound")]
const MAX_RANK: u32 = 8;
/// How long a member without a presence message is remembered after its last message.
#[doc(alias = "bound")]
const MEMBER_TTL: Duration = Duration::from_secs(60);
/// Requests that wait for an owner.
#[doc(alias = "bound")]
pub const MAX_WATCHED: usize = 4096;
/// Members of the group that are remembered.
#[doc(alias = "bound")]
const MAX_MEMBERS: usize = 256;

/// What this replica knows of the others.
#[derive(Debug)]
pub(super) struct Replicas<W> {
    me: String,
    /// When this replica published the latest message that it has received.
    leased_at: Time,
    /// When it published the one for which it waits, which is its number.
    renewal: Option<Time>,
    /// The other members that are present.
    members: HashMap<String, Member>,
    /// The apps that other members serve.
    owners: HashMap<App, Owner>,
    /// The apps that this replica claimed first, until it receives its own message that it ended.
    held: HashMap<App, Time>,
    /// Requests that wait for an owner or for its end.
    watched: HashMap<App, Vec<Watched<W>>>,
    watched_on: Portions<Arc<Channel>>,
}

/// A request that waits.
#[derive(Debug)]
struct Watched<W> {
    request: Request<W>,
    /// From when on this replica may serve it.
    from: Time,
    /// Whether it was too old when it arrived.
    is_late: bool,
}

/// Another member.
#[derive(Debug)]
struct Member {
    /// Whether its presence message says that it is online.
    is_announced: bool,
    last_message: Time,
}

/// Another replica that serves an app.
#[derive(Debug)]
struct Owner {
    instance: String,
    /// Since when it does, as far as is known.
    since: Time,
    /// When it last sent a message.
    last_message: Time,
    /// Whether it has claimed the app.
    has_claim: bool,
}

impl<W> Replicas<W> {
    /// The replica called `me`, which knows no other yet.
    pub(super) fn new(me: String) -> Self {
        Self {
            me,
            leased_at: Time::default(),
            renewal: None,
            members: HashMap::new(),
            owners: HashMap::new(),
            held: HashMap::new(),
            watched: HashMap::new(),
            watched_on: Portions::new(MAX_WATCHED),
        }
    }

    /// Whether `instance` is this replica.
    pub(super) fn is_me(&self, instance: &str) -> bool {
        instance == self.me
    }

    /// The number of the message that is to be published now to renew the lease, unless one is under way.
    pub(super) fn renewal(&mut self, now: Time) -> Option<u64> {
        if self.renewal.is_some_and(|published| now.since(published) < LEASE) {
            return None;
        }
        self.renewal = Some(now);
        Some(now.0)
    }

    /// This replica received its message of this number. If it waits for that, the lease is renewed; returns for how long there
    /// was no message before it.
    pub(super) fn renewed(&mut self, number: u64) -> Option<Duration> {
        let published = self.renewal.take_if(|published| published.0 == number)?;
        Some(published.since(std::mem::replace(&mut self.leased_at, published)))
    }

    /// This replica received a claim that it had published at this time.
    pub(super) fn claimed(&mut self, published: Time) {
        self.leased_at = self.leased_at.max(published);
    }

    /// Whether this replica may send chunks.
    pub(super) fn has_lease(&self, now: Time) -> bool {
        now.since(self.leased_at) < LEASE
    }

    /// The subscriptions are back: the messages that the broker queued may say that a request was served.
    pub(super) fn connected(&mut self, now: Time) {
        // The broker may have lost the messages that would release them.
        self.held.clear();
        for watched in self.watched.values_mut().flatten() {
            watched.from = watched.from.max(now + QUEUE_MARGIN);
        }
    }

    /// A request arrived; too old to be served if `is_late`.
    ///
    /// # Errors
    /// The request if its channel has as many that wait as it may.
    pub(super) fn watch(&mut self, app: &App, request: Request<W>, is_late: bool, now: Time) -> Result<(), Request<W>> {
        if !self.watched_on.take(&app.channel) {
            return Err(request);
        }
        let from = if request.origin == Origin::Device { now } else { now + QUEUE_MARGIN };
        self.watched.entry(app.clone()).or_default().push(Watched { request, from, is_late });
        Ok(())
    }

    /// This replica yields: its requests for `app` wait for the owner, which received them before it claimed the app. Returns
    /// those for which there is no room.
    pub(super) fn give_back(&mut self, app: &App, requests: Vec<Request<W>>, now: Time) -> Vec<Request<W>> {
        let (watched, refused): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|_| self.watched_on.take(&app.channel));
        let watched = watched.into_iter().map(|request| Watched { request, from: now, is_late: false });
        self.watched.entry(app.clone()).or_default().extend(watched);
        refused
    }

    /// Another member is online or offline.
    pub(super) fn presence(&mut self, instance: &str, is_online: bool, now: Time) {
        if instance == self.me {
            return;
        }
        if is_online {
            self.note(instance, now);
            self.members.entry(instance.to_owned()).and_modify(|member| member.is_announced = true);
        } else if holds(Rule::TakeOver) {
            self.members.remove(instance);
            self.owners.retain(|_, owner| owner.instance != instance);
        }
    }

    /// Another member serves an app; `has_claim` if it claims it.
    pub(super) fn serves(&mut self, instance: &str, app: &App, has_claim: bool, now: Time) {
        // While this replica holds the app, the claim of the other came second, and it yields.
        if self.held.contains_key(app) {
            return;
        }
        let is_held = self.is_claimed(app, now) || !has_claim && self.is_owned(app, now);
        match self.owners.get_mut(app) {
            Some(owner) if owner.instance == instance => owner.has_claim |= has_claim,
            // The first claim stays, and so does the first owner while there is no claim.
            _ if is_held => {}
            _ => {
                let owner = Owner { instance: instance.to_owned(), since: now, last_message: now, has_claim };
                self.owners.insert(app.clone(), owner);
            }
        }
    }

    /// The claim of this replica is the first one.
    pub(super) fn hold(&mut self, app: &App, now: Time) {
        self.owners.remove(app);
        self.held.insert(app.clone(), now);
    }

    /// This replica received its own message that its transfer ended: what another one claims from now on is the first.
    pub(super) fn release(&mut self, app: &App) {
        self.held.remove(app);
    }

    /// Another member is being stopped; what it had not covered is for the others.
    pub(super) fn stops(&mut self, instance: &str, app: &App) {
        if self.owners.get(app).is_some_and(|owner| owner.instance == instance) {
            self.owners.remove(app);
        }
    }

    /// Another member could not deliver an app that it served; returns the requests that are over with that.
    pub(super) fn failed(&mut self, instance: &str, app: &App, now: Time) -> Vec<Request<W>> {
        let is_owner = self.owners.get(app).is_some_and(|owner| owner.instance == instance);
        if is_owner { self.ended(instance, app, now) } else { Vec::new() }
    }

    /// Another member ended its transfer of an app; returns the requests that this covers.
    pub(super) fn ended(&mut self, instance: &str, app: &App, now: Time) -> Vec<Request<W>> {
        self.note(instance, now);
        let since = match self.owners.get(app) {
            Some(owner) if owner.instance == instance => owner.since,
            Some(_) if self.is_owned(app, now) => return Vec::new(),
            _ => Time::default(),
        };
        self.owners.remove(app);
        self.drain(app, |Watched { request, .. }| request.arrived <= since || now.since(request.arrived) >= OVERLAP)
    }

    /// Whether another member serves `app`.
    pub(super) fn is_owned(&self, app: &App, now: Time) -> bool {
        self.owners.get(app).is_some_and(|owner| now.since(owner.last_message) < SILENCE)
    }

    /// Whether another member has claimed `app`.
    pub(super) fn is_claimed(&self, app: &App, now: Time) -> bool {
        self.is_owned(app, now) && self.owners.get(app).is_some_and(|owner| owner.has_claim)
    }

    /// Takes the requests for `app` that this replica serves because it serves the app already.
    pub(super) fn take(&mut self, app: &App) -> Vec<Request<W>> {
        self.drain(app, |watched| !watched.is_late)
    }

    /// Takes the requests for `app` that are due now.
    pub(super) fn take_due(&mut self, app: &App, now: Time) -> Vec<Request<W>> {
        if self.is_owned(app, now) {
            return Vec::new();
        }
        let patience = self.patience(app);
        let is_due = |from: Time| from <= now && now.since(from) >= patience;
        let requests = self.drain(app, |watched| !watched.is_late && is_due(watched.from));
        if !requests.is_empty() && patience > Duration::ZERO {
            self.drop_silent(app, now, patience);
        }
        requests
    }

    /// Takes the requests that were too old when they arrived, and that nobody has served.
    pub(super) fn late(&mut self, now: Time) -> Vec<(App, Request<W>)> {
        let is_late = |watched: &Watched<W>| watched.is_late && watched.from <= now;
        let apps = self.watched.iter().filter(|(_, watched)| watched.iter().any(is_late)).map(|(app, _)| app.clone());
        let mut late = Vec::new();
        for app in apps.collect::<Vec<_>>() {
            late.extend(self.drain(&app, is_late).into_iter().map(|request| (app.clone(), request)));
        }
        late
    }

    /// Forgets silent members and owners, and takes the requests without an owner for which no device waits any more.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Request<W>> {
        self.held.retain(|_, since| now.since(*since) < MEMBER_TTL);
        self.members.retain(|_, member| member.is_announced || now.since(member.last_message) < MEMBER_TTL);
        self.owners.retain(|_, owner| now.since(owner.last_message) < SILENCE);
        let mut expired = Vec::new();
        for app in self.without_owner() {
            expired.extend(self.drain(&app, |watched| now.since(watched.request.arrived) >= TASK_TIMEOUT));
        }
        expired
    }

    /// Takes the requests that are due: nobody serves their app, and every member with a higher rank had its time.
    pub(super) fn due(&mut self, now: Time) -> Vec<(App, Request<W>)> {
        let mut due = Vec::new();
        for app in self.without_owner() {
            due.extend(self.take_due(&app, now).into_iter().map(|request| (app.clone(), request)));
        }
        due
    }

    /// The apps of watched requests that have no owner.
    fn without_owner(&self) -> Vec<App> {
        self.watched.keys().filter(|app| !self.owners.contains_key(app)).cloned().collect()
    }

    /// Members with a higher rank for `app` that have sent nothing for `patience` are gone, whatever their presence message
    /// says: a will covers one channel, and a broker that crashes sends none. Their next message brings them back.
    fn drop_silent(&mut self, app: &App, now: Time, patience: Duration) {
        let mine = weight(&self.me, app);
        self.members
            .retain(|instance, member| weight(instance, app) < mine || now.since(member.last_message) < patience);
    }

    /// Notes a message of another member.
    pub(super) fn note(&mut self, instance: &str, now: Time) {
        if let Some(member) = self.members.get_mut(instance) {
            member.last_message = now;
        } else if self.members.len() < MAX_MEMBERS {
            self.members.insert(instance.to_owned(), Member { is_announced: false, last_message: now });
        }
        for owner in self.owners.values_mut().filter(|owner| owner.instance == instance) {
            owner.last_message = now;
        }
    }

    /// Whether no other member has a higher rank for `app`.
    pub(super) fn is_first(&self, app: &App) -> bool {
        self.rank(app) == 0
    }

    /// The same, of the members that were heard lately.
    pub(super) fn is_spokesman(&self, app: &App, now: Time) -> bool {
        let mine = weight(&self.me, app);
        let heard = self.members.iter().filter(|(_, member)| now.since(member.last_message) < MEMBER_TTL);
        heard.into_iter().all(|(instance, _)| weight(instance, app) < mine)
    }

    /// How long this replica waits for members with a higher rank.
    fn patience(&self, app: &App) -> Duration {
        let rank = self.rank(app);
        if rank > 0 && !holds(Rule::TakeOver) { Duration::MAX } else { PATIENCE * rank }
    }

    /// How many members have a higher rank for `app` (rendezvous hashing).
    fn rank(&self, app: &App) -> u32 {
        let mine = weight(&self.me, app);
        let higher = self.members.keys().filter(|instance| weight(instance, app) > mine).count();
        u32::try_from(higher).unwrap_or(u32::MAX).min(MAX_RANK)
    }

    fn drain(&mut self, app: &App, is_taken: impl Fn(&Watched<W>) -> bool) -> Vec<Request<W>> {
        let Some(requests) = self.watched.get_mut(app) else { return Vec::new() };
        let taken: Vec<_> = requests.extract_if(.., |watched| is_taken(watched)).collect();
        self.watched_on.give_back(&app.channel, taken.len());
        if requests.is_empty() {
            self.watched.remove(app);
        }
        taken.into_iter().map(|watched| watched.request).collect()
    }
}

/// The weight of a member for an app: the same in every replica and release.
fn weight(instance: &str, app: &App) -> [u8; 32] {
    let App { channel, layout, name } = app;
    let key = format!("{instance}\0{}\0{}\0{layout:?}\0{name}", channel.domain, channel.id);
    *Digest::of(key.as_bytes()).bytes()
}
