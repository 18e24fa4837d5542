//! The versions of each app that were sent lately, so that two of them never become one module in a device.
//!
//! A device keeps chunks by the app's name and their index, the first copy of each, and drops those whose `total_chunks` is
//! another than that of what it has. So two modules that are sent under one name within the time that a device may keep
//! chunks get totals that differ: what a device has of the old one is then never completed with the new one.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::Refusal;
use super::rule::{Rule, holds};
use crate::delivery::plan::ChunkPlan;
use crate::mqtt::topic::{App, Channel};
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::fair::Portions;

/// How long a version is remembered after its last chunk: devices keep chunks for 360 s, and a minute is for what is
/// under way.
#[doc(alias = "bound")]
pub const CHUNK_LIFETIME: Duration = Duration::from_secs(420);
/// The age at which a pin ends.
#[doc(alias = "bound")]
const MAX_PIN_AGE: Duration = Duration::from_secs(900);
/// Apps whose versions are remembered.
#[doc(alias = "bound")]
pub const MAX_APPS: usize = 16_384;
/// Versions of one app by other proxies that are remembered.
#[doc(alias = "bound")]
pub(super) const MAX_NOTED: usize = 64;
/// Moves of a tag within [`CHUNK_LIFETIME`] that are assumed while versions are unknown.
#[doc(alias = "bound")]
const USUAL_MOVES: u64 = 16;
/// How often all apps may be looked at to make room for another one.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Totals that are tried beside the plain one while versions are unknown.
#[doc(alias = "bound")]
const GUESSES: u64 = 64;

/// What becomes of a tag that moves while devices may have chunks of what it meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagMoves {
    /// The new module is sent, in another number of chunks.
    Fresh,
    /// The old one is sent until no request has come for [`CHUNK_LIFETIME`], or for 15 min.
    Pinned,
}

/// A module as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The digest of the manifest or index that the reference led to, if this proxy has sent it.
    pub root: Option<Digest>,
    /// The digest of the module.
    pub digest: Digest,
    /// How it was cut.
    pub plan: ChunkPlan,
}

/// A module that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The digest of the manifest or index that the reference led to.
    pub root: Digest,
    /// The digest of the module.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the reference is a tag, which may have meant something else before.
    pub may_move: bool,
}

/// A version, and when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentVersion {
    pub version: Version,
    /// When its first chunk may have been published.
    pub since: Time,
    /// When its last chunk was published.
    pub last: Time,
    /// Whether a transfer is sending it.
    #[serde(alias = "open", deserialize_with = "crate::util::flag")]
    pub is_open: bool,
    /// Whether the app is a tag, which may have meant something else before, as far as is known.
    #[serde(default = "crate::util::yes")]
    pub may_move: bool,
}

/// The versions of all apps that were sent within [`CHUNK_LIFETIME`]; the latest one of each is at the end.
#[derive(Debug)]
pub(super) struct Versions {
    apps: HashMap<App, Vec<SentVersion>>,
    /// The apps, by channel.
    channels: Portions<Arc<Channel>>,
    /// When no room could be made last, by channel.
    swept: HashMap<Arc<Channel>, Time>,
    /// Until when devices may hold chunks of versions that are not in here: another proxy or an earlier process sent them.
    uncertain_until: Time,
    /// Until when devices may hold chunks that were cut to another size.
    recut_until: Time,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            apps: HashMap::new(),
            channels: Portions::new(MAX_APPS),
            swept: HashMap::new(),
            uncertain_until: Time::default(),
            recut_until: Time::default(),
        }
    }
}

impl Versions {
    /// Restores what an earlier process wrote. What it was sending then it may have sent until `now`; returns whether that
    /// was anything.
    pub(super) fn restore(&mut self, app: App, mut versions: Vec<SentVersion>, now: Time) -> bool {
        let mut was_open = false;
        for sent in versions.iter_mut().filter(|sent| sent.is_open) {
            (sent.is_open, was_open) = (false, true);
            sent.last = if holds(Rule::Restore) { now } else { Time::default() };
        }
        self.channels.add(&app.channel, 1);
        self.apps.insert(app, versions);
        was_open
    }

    /// Until then devices may hold chunks that an earlier process cut to another size; also of modules that never change and
    /// were forgotten.
    pub(super) fn set_recut_until(&mut self, until: Time) {
        self.recut_until = self.recut_until.max(until);
    }

    /// From now on for [`CHUNK_LIFETIME`], devices may hold chunks of unknown versions; returns the end of that.
    pub(super) fn set_uncertain(&mut self, now: Time) -> Time {
        self.set_uncertain_until(now + CHUNK_LIFETIME);
        self.uncertain_until
    }

    /// The same until a time that an earlier process wrote.
    pub(super) fn set_uncertain_until(&mut self, until: Time) {
        self.uncertain_until = self.uncertain_until.max(until);
    }

    /// Whether devices may hold chunks of unknown versions.
    pub(super) fn is_uncertain(&self, now: Time) -> bool {
        now < self.uncertain_until
    }

    /// The versions of one app.
    pub(super) fn of(&self, app: &App) -> &[SentVersion] {
        self.apps.get(app).map_or(&[], Vec::as_slice)
    }

    /// The manifest that `app` is pinned to.
    pub(super) fn pin(&self, app: &App, now: Time) -> Option<Digest> {
        let sent = self.of(app).last()?;
        (sent.is_remembered(now) && now.since(sent.since) < MAX_PIN_AGE).then_some(sent.version.root)?
    }

    /// The manifest that was sent last of `app`, for a repeat of it.
    pub(super) fn latest(&self, app: &App) -> Option<Digest> {
        self.of(app).last()?.version.root
    }

    /// Cuts a module of `app` that is sent now, and notes that it is.
    ///
    /// # Errors
    /// Why it must not be sent: devices could mix it with another version.
    pub(super) fn begin(
        &mut self,
        app: &App,
        module: Candidate,
        chunk_size: NonZeroU32,
        now: Time,
    ) -> Result<ChunkPlan, Refusal> {
        let Candidate { root, digest, may_move, .. } = module;
        // Of tags, none is forgotten that could be cut differently.
        let is_uncertain = if may_move { self.is_uncertain(now) } else { now < self.recut_until };
        let versions = self.entry(app, now).ok_or(Refusal::TooManyApps)?;
        let is_same = |SentVersion { version, .. }: &SentVersion| {
            let Version { digest: sent, plan, .. } = version;
            *sent == digest && plan.size() == module.size && plan.chunk_size() <= chunk_size
        };
        let (plan, since) = match versions.iter().position(is_same) {
            Some(index) => {
                let SentVersion { version, since, .. } = versions.remove(index);
                (version.plan, if now.since(since) < MAX_PIN_AGE { since } else { now })
            }
            None => (cut(versions, &module, chunk_size, is_uncertain).ok_or(Refusal::NoTotal)?, now),
        };
        let version = Version { root: Some(root), digest, plan };
        versions.push(SentVersion { version, since, last: now, is_open: true, may_move });
        Ok(plan)
    }

    /// The last chunk of the transfer of `app` was published.
    pub(super) fn end(&mut self, app: &App, now: Time) {
        for sent in self.apps.get_mut(app).into_iter().flatten().filter(|sent| sent.is_open) {
            (sent.is_open, sent.last) = (false, now);
        }
    }

    /// Another module that was sent of `app` in as many chunks, so that devices might mix the two.
    pub(super) fn clash(&self, app: &App, version: &Version, now: Time) -> Option<Version> {
        let total_chunks = version.plan.total_chunks();
        let known = self.of(app).iter().filter(|sent| sent.is_remembered(now)).map(|sent| sent.version);
        let mut others = known.filter(|known| known.digest != version.digest && total_chunks > 1);
        others.find(|known| known.plan.total_chunks() == total_chunks)
    }

    /// Forgets a version of which no chunk was published.
    pub(super) fn withdraw(&mut self, app: &App, version: &Version) {
        if let Some(versions) = self.apps.get_mut(app) {
            versions.retain(|sent| sent.version.digest != version.digest || sent.version.plan != version.plan);
        }
    }

    /// Another proxy sends this version. Whether it can be remembered.
    pub(super) fn note(&mut self, app: &App, version: Version, now: Time) -> bool {
        let Some(versions) = self.entry(app, now) else { return false };
        let is_it =
            |sent: &&mut SentVersion| sent.version.digest == version.digest && sent.version.plan == version.plan;
        if let Some(sent) = versions.iter_mut().find(is_it) {
            sent.last = now;
        } else if versions.len() >= MAX_NOTED {
            return false;
        } else {
            versions.insert(0, SentVersion { version, since: now, last: now, is_open: false, may_move: true });
        }
        true
    }

    /// The versions of `app` that are remembered, if it is one of the apps or there is room for it.
    fn entry(&mut self, app: &App, now: Time) -> Option<&mut Vec<SentVersion>> {
        if !self.apps.contains_key(app) && !self.channels.take(&app.channel) {
            return None;
        }
        let versions = self.apps.entry(app.clone()).or_default();
        versions.retain(|sent| sent.is_remembered(now));
        Some(versions)
    }

    /// Makes room for `app` where its channel has none, at the cost of that channel: forgets apps that devices cannot mix.
    /// Returns them. Where there were none, not again for a second, as it looks at all apps.
    pub(super) fn make_room(&mut self, app: &App, now: Time) -> Vec<App> {
        let App { channel, .. } = app;
        let is_due = self.swept.get(channel).is_none_or(|at| now.since(*at) >= SWEEP_INTERVAL);
        if self.apps.contains_key(app) || self.channels.has_room(channel) || !is_due {
            return Vec::new();
        }
        let is_harmless = |known: &App, versions: &[SentVersion]| {
            known.channel == *channel && versions.iter().all(SentVersion::is_harmless)
        };
        let forgotten = self.remove(is_harmless);
        if forgotten.is_empty() {
            self.swept.insert(Arc::clone(channel), now);
        }
        forgotten
    }

    /// Forgets versions of which no device holds chunks any more; returns the apps of which none is remembered.
    pub(super) fn forget(&mut self, now: Time) -> Vec<App> {
        self.swept.clear();
        for versions in self.apps.values_mut() {
            versions.retain(|sent| sent.is_remembered(now));
        }
        self.remove(|_, versions| versions.is_empty())
    }

    fn remove(&mut self, is_removed: impl Fn(&App, &[SentVersion]) -> bool) -> Vec<App> {
        let removed: Vec<_> =
            self.apps.extract_if(|app, versions| is_removed(app, versions)).map(|(app, _)| app).collect();
        for app in &removed {
            self.channels.give_back(&app.channel, 1);
        }
        removed
    }
}

impl SentVersion {
    /// Whether devices can mix it with no other version of its app: it is a single chunk, or will always be the same module,
    /// cut the same way.
    fn is_harmless(&self) -> bool {
        !self.is_open && (self.version.plan.total_chunks() == 1 || !self.may_move)
    }

    fn is_remembered(&self, now: Time) -> bool {
        self.is_open || now.since(self.last) < CHUNK_LIFETIME
    }
}

/// Cuts a module so that it can be mixed with none of `versions`; nor, if `is_uncertain`, with an unknown one.
fn cut(versions: &[SentVersion], module: &Candidate, chunk_size: NonZeroU32, is_uncertain: bool) -> Option<ChunkPlan> {
    let plain = ChunkPlan::new(module.size, chunk_size);
    // A single chunk is all or nothing.
    if plain.total_chunks() == 1 || !holds(Rule::DistinctTotals) {
        return Some(plain);
    }
    let (mut least, mut first) = (plain.total_chunks(), plain.total_chunks());
    if is_uncertain {
        least += 1;
        // Not a number that a few moves of the tag use, and the same one again for the same module.
        let most = module.size.saturating_sub(least);
        let aside = USUAL_MOVES.min(most / 2);
        first = least + aside + u64::from(module.digest.bytes()[0]) % GUESSES.min(most - aside).max(1);
    }
    let is_free = |total: &u64| versions.iter().all(|sent| sent.version.plan.total_chunks() != *total);
    let total_chunks = (first..=module.size).chain(least..first).find(is_free)?;
    ChunkPlan::with_total(module.size, chunk_size, total_chunks)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mqtt::topic::{Channel, Layout};

    const CHUNK_SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn app() -> App {
        app_on("c", "a")
    }

    fn app_on(channel: &str, name: &str) -> App {
        let channel = Arc::new(Channel { domain: "d".into(), id: channel.into() });
        App { channel, layout: Layout::Plain, name: name.into() }
    }

    /// Sends so many apps of a channel, of `size` bytes each; returns how many were accepted, and forgotten for that.
    fn flood(
        versions: &mut Versions,
        channel: &str,
        first: usize,
        apps: usize,
        size: u64,
        may_move: bool,
    ) -> (usize, usize) {
        let digest = Digest::of(b"a");
        let (mut accepted, mut forgotten) = (0, 0);
        for number in first..first + apps {
            let app = app_on(channel, &number.to_string());
            forgotten += versions.make_room(&app, Time(0)).len();
            let module = Candidate { root: digest, digest, size, may_move };
            accepted += usize::from(versions.begin(&app, module, CHUNK_SIZE, Time(0)).is_ok());
            versions.end(&app, Time(0));
        }
        (accepted, forgotten)
    }

    fn begin(versions: &mut Versions, name: &str, size: u64, now: u64) -> Option<u64> {
        let digest = Digest::of(name.as_bytes());
        let module = Candidate { root: digest, digest, size, may_move: true };
        let plan = versions.begin(&app(), module, CHUNK_SIZE, Time(now * 1000));
        plan.ok().map(|plan| plan.total_chunks())
    }

    fn end(versions: &mut Versions, now: u64) {
        versions.end(&app(), Time(now * 1000));
    }

    #[test]
    fn versions_of_one_app_have_totals_of_their_own_while_devices_may_have_chunks() {
        let mut versions = Versions::default();
        assert_eq!(begin(&mut versions, "one", 25, 0), Some(3));
        end(&mut versions, 10);
        assert_eq!(begin(&mut versions, "one", 25, 20), Some(3), "the same again");
        end(&mut versions, 100);
        assert_eq!(begin(&mut versions, "two", 25, 519), Some(4), "419 s after the last chunk of the first");
        end(&mut versions, 519);
        assert_eq!(begin(&mut versions, "three", 26, 520), Some(3), "420 s after");
        assert_eq!(begin(&mut versions, "four", 26, 520), Some(5));
        assert_eq!(begin(&mut versions, "small", 10, 520), Some(1));
        assert_eq!(begin(&mut versions, "small too", 10, 520), Some(1), "one chunk is never mixed");
    }

    #[test]
    fn a_channel_forgets_its_own_and_what_cannot_be_mixed() {
        let share = MAX_APPS * 8 / 9;
        // Each row: the size of the modules, whether they are tags, and whether they can be mixed.
        for (size, may_move, is_mixable) in [(25, true, true), (10, true, false), (25, false, false)] {
            let mut versions = Versions::default();
            let (accepted, forgotten) = flood(&mut versions, "flood", 0, MAX_APPS, size, may_move);
            let expected = if is_mixable { (share, 0) } else { (MAX_APPS, share) };
            assert!(
                accepted.abs_diff(expected.0) <= 1 && forgotten.abs_diff(expected.1) <= 1,
                "{accepted} {forgotten}"
            );
            assert_eq!(flood(&mut versions, "other", 0, 1000, 25, true), (1000, 0), "another channel has its own");
        }
    }

    #[test]
    fn what_was_cut_to_another_size_is_not_cut_to_as_many_chunks() {
        let mut versions = Versions::default();
        versions.set_recut_until(Time(1000));
        let digest = Digest::of(b"a");
        let module = Candidate { root: digest, digest, size: 25, may_move: false };
        assert_ne!(versions.begin(&app_on("c", "a"), module, CHUNK_SIZE, Time(999)).unwrap().total_chunks(), 3);
        let tag = Candidate { may_move: true, ..module };
        assert_eq!(versions.begin(&app_on("c", "tag"), tag, CHUNK_SIZE, Time(999)).unwrap().total_chunks(), 3);
        assert_eq!(versions.begin(&app_on("c", "b"), module, CHUNK_SIZE, Time(1000)).unwrap().total_chunks(), 3);
    }

    #[test]
    fn totals_run_out_with_the_bytes() {
        let mut versions = Versions::default();
        let totals: Vec<_> = (0..12).map(|name| begin(&mut versions, &name.to_string(), 11, 0)).collect();
        assert_eq!(totals[..10], (2..12).map(Some).collect::<Vec<_>>());
        assert_eq!(totals[10..], [None, None]);
    }

    #[test]
    fn after_a_restart_what_was_open_counts_from_then() {
        let mut before = Versions::default();
        begin(&mut before, "one", 25, 0);
        let mut versions = Versions::default();
        assert!(versions.restore(app(), before.of(&app()).to_vec(), Time(400_000)));
        assert_eq!(versions.latest(&app()), Some(Digest::of(b"one")));
        assert_eq!(begin(&mut versions, "two", 25, 800), Some(4));
    }

    #[test]
    fn versions_of_others_count_and_uncertainty_leads_to_unusual_totals() {
        let mut versions = Versions::default();
        let plan = ChunkPlan::new(25, CHUNK_SIZE);
        let version = Version { root: None, digest: Digest::of(b"one"), plan };
        assert!(versions.note(&app(), version, Time(0)));
        assert_eq!(begin(&mut versions, "one", 25, 1), Some(3));
        assert_eq!(begin(&mut versions, "two", 25, 1), Some(4));
        let mut versions = Versions::default();
        versions.set_uncertain(Time(0));
        assert!(begin(&mut versions, "one", 1000, 419).is_some_and(|total| total > 100));
        assert_eq!(begin(&mut versions, "two", 1000, 420), Some(100));
    }

    #[test]
    fn a_pin_lasts_until_it_is_quiet_or_old() {
        let mut versions = Versions::default();
        let one = Some(Digest::of(b"one"));
        begin(&mut versions, "one", 25, 0);
        end(&mut versions, 100);
        assert_eq!(versions.pin(&app(), Time(519_000)), one);
        assert_eq!(versions.pin(&app(), Time(520_000)), None);
        begin(&mut versions, "one", 25, 500);
        assert_eq!(versions.pin(&app(), Time(899_000)), one);
        assert_eq!(versions.pin(&app(), Time(900_000)), None);
    }
}
