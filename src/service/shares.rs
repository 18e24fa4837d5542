//! What of the messages of other proxies is read: a share for each sender on each channel, so that one that floods, or
//! somebody in its name, costs little and leaves the others theirs. Nor does a channel whose devices flood, with the
//! failures of their requests, take the claims of another one with them.
//!
//! Only the message itself says who sent it. So all messages together have a bound before they are parsed; after that, each
//! replica that is present has a share on each channel, and all other senders together have one there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mqtt::topic::Channel;

/// Replicas with a share of their own.
#[doc(alias = "bound")]
const MAX_SENDERS: usize = 32;
/// Shares that are partly used at once, of each sender on each channel.
#[doc(alias = "bound")]
const MAX_USED: usize = 4096;
/// Messages of one sender on one channel that are taken at once.
#[doc(alias = "bound")]
const BURST: u32 = 2048;
/// Messages of one sender on one channel that are taken a second: two for each module that may be open.
#[doc(alias = "bound")]
const RATE: u32 = 512;
/// Messages of all senders that are parsed at once.
#[doc(alias = "bound")]
const ALL_BURST: u32 = 16_384;
/// Messages of all senders that are parsed a second.
#[doc(alias = "bound")]
const ALL_RATE: u32 = 8192;

/// Who may still send how much.
#[derive(Debug)]
pub(super) struct Shares {
    all: Share,
    /// Those that have shares of their own.
    replicas: HashSet<String>,
    /// The shares that are partly used: of a replica, or of all other senders.
    used: HashMap<(Arc<Channel>, Option<String>), Share>,
}

impl Shares {
    /// The shares of a proxy called `me`, which keeps its own.
    pub(super) fn new(me: &str, now: Instant) -> Self {
        let replicas = HashSet::from([me.to_owned()]);
        Self { all: Share::new(ALL_RATE, ALL_BURST, now), replicas, used: HashMap::new() }
    }

    /// Whether one more message may be parsed.
    pub(super) fn permit_parsing(&mut self, now: Instant) -> bool {
        self.all.take(now)
    }

    /// Whether one more message of this sender on this channel is taken.
    pub(super) fn permit(&mut self, channel: &Arc<Channel>, sender: &str, now: Instant) -> bool {
        let key = (Arc::clone(channel), self.replicas.get(sender).cloned());
        if self.used.len() >= MAX_USED && !self.used.contains_key(&key) {
            self.used.retain(|_, share| !share.is_whole(now));
            if self.used.len() >= MAX_USED {
                return false;
            }
        }
        self.used.entry(key).or_insert_with(|| Share::new(RATE, BURST, now)).take(now)
    }

    /// A replica is present: it gets a share of its own, if there is one left. It keeps that, so that nobody gets a new one
    /// by leaving.
    pub(super) fn enter(&mut self, replica: &str) {
        if self.replicas.len() < MAX_SENDERS && !self.replicas.contains(replica) {
            self.replicas.insert(replica.to_owned());
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Share {
    rate: u32,
    burst: u32,
    /// Messages that may still come, at `since`.
    left: u32,
    since: Instant,
}

impl Share {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate, burst, left: burst, since: now }
    }

    /// Whether nothing of it is used any more.
    fn is_whole(&mut self, now: Instant) -> bool {
        self.earn(now);
        self.left == self.burst
    }

    fn take(&mut self, now: Instant) -> bool {
        self.earn(now);
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }

    fn earn(&mut self, now: Instant) {
        let step = Duration::from_secs(1) / self.rate;
        let steps = now.saturating_duration_since(self.since).as_nanos() / step.as_nanos();
        let earned = u32::try_from(steps).unwrap_or(u32::MAX).min(self.burst);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.since = if self.left == self.burst { now } else { self.since + step * earned };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(shares: &mut Shares, sender: &str, messages: u32, now: Instant) -> u32 {
        taken_on("c", shares, sender, messages, now)
    }

    fn taken_on(channel: &str, shares: &mut Shares, sender: &str, messages: u32, now: Instant) -> u32 {
        let channel = Arc::new(Channel { domain: "d".into(), id: channel.into() });
        (0..messages).map(|_| u32::from(shares.permit(&channel, sender, now))).sum()
    }

    #[test]
    fn a_flood_leaves_the_others_their_shares() {
        let begin = Instant::now();
        let mut shares = Shares::new("me", begin);
        shares.enter("one");
        shares.enter("two");
        assert_eq!(taken(&mut shares, "one", 20_000, begin), BURST);
        // A thousand names that nobody has announced are one sender.
        let strangers: u32 = (0..1000).map(|name| taken(&mut shares, &format!("x{name}"), 20, begin)).sum();
        assert_eq!(strangers, BURST);
        for sender in ["me", "two"] {
            assert_eq!(taken(&mut shares, sender, 1000, begin), 1000);
        }

        let later = begin + Duration::from_secs(2);
        assert_eq!(taken(&mut shares, "one", 20_000, later), 2 * RATE);
        assert_eq!(taken(&mut shares, "one", 20_000, later + Duration::from_secs(3600)), BURST);
    }

    #[test]
    fn a_flood_on_one_channel_leaves_the_others_theirs() {
        let begin = Instant::now();
        let mut shares = Shares::new("me", begin);
        assert_eq!(taken_on("flooded", &mut shares, "me", 20_000, begin), BURST);
        assert_eq!(taken_on("c", &mut shares, "me", 1000, begin), 1000);
        // Where any channel is served, somebody may make them up: there is room for so many, and again later.
        for now in [begin, begin + Duration::from_secs(1)] {
            let channels = (0..2 * MAX_USED).map(|channel| taken_on(&channel.to_string(), &mut shares, "x", 1, now));
            assert!((MAX_USED - 2..=MAX_USED).contains(&(channels.sum::<u32>() as usize)));
        }
        assert!(shares.used.len() <= MAX_USED);
    }

    #[test]
    fn made_up_replicas_get_no_more_than_what_is_left() {
        let now = Instant::now();
        let mut shares = Shares::new("me", now);
        shares.enter("one");
        for name in 0..1000 {
            shares.enter(&format!("x{name}"));
        }
        assert_eq!(taken(&mut shares, "one", 100, now), 100);
        let all: u32 = (0..1000).map(|name| taken(&mut shares, &format!("x{name}"), BURST, now)).sum();
        assert_eq!(all, (u32::try_from(MAX_SENDERS).unwrap() - 1) * BURST);
        let parsed: u32 = (0..100_000).map(|_| u32::from(shares.permit_parsing(now))).sum();
        assert_eq!(parsed, ALL_BURST);
    }

    #[test]
    fn a_steady_sender_within_its_rate_is_never_refused() {
        let begin = Instant::now();
        let mut shares = Shares::new("me", begin);
        taken(&mut shares, "me", BURST, begin);
        for message in 1..2000 {
            let now = begin + Duration::from_secs(1) * message / (RATE - 1);
            assert_eq!(taken(&mut shares, "me", 1, now), 1, "{message}");
        }
    }
}
