//! What of the messages of other proxies is read: a share for each sender, so that one that floods, or somebody in its name,
//! costs little and leaves the others theirs.
//!
//! Only the message itself says who sent it. So all messages together have a bound before they are parsed; after that, each
//! replica that is present has a share, and all other senders together have one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Replicas with a share of their own.
#[doc(alias = "bound")]
const MAX_SENDERS: usize = 32;
/// Messages of one sender that are taken at once.
#[doc(alias = "bound")]
const BURST: u32 = 2048;
/// Messages of one sender that are taken a second: two for each module that may be open.
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
    replicas: HashMap<String, Share>,
    others: Share,
}

impl Shares {
    /// The shares of a proxy called `me`, which keeps its own.
    pub(super) fn new(me: &str, now: Instant) -> Self {
        let share = Share::new(RATE, BURST, now);
        Self { all: Share::new(ALL_RATE, ALL_BURST, now), replicas: HashMap::from([(me.into(), share)]), others: share }
    }

    /// Whether one more message may be parsed.
    pub(super) fn permit_parsing(&mut self, now: Instant) -> bool {
        self.all.take(now)
    }

    /// Whether one more message of this sender is taken.
    pub(super) fn permit(&mut self, sender: &str, now: Instant) -> bool {
        self.replicas.get_mut(sender).unwrap_or(&mut self.others).take(now)
    }

    /// A replica is present: it gets a share of its own, if there is one left. It keeps that, so that nobody gets a new one
    /// by leaving.
    pub(super) fn enter(&mut self, replica: &str, now: Instant) {
        if self.replicas.len() < MAX_SENDERS && !self.replicas.contains_key(replica) {
            self.replicas.insert(replica.to_owned(), Share::new(RATE, BURST, now));
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

    fn take(&mut self, now: Instant) -> bool {
        let step = Duration::from_secs(1) / self.rate;
        let steps = now.saturating_duration_since(self.since).as_nanos() / step.as_nanos();
        let earned = u32::try_from(steps).unwrap_or(u32::MAX).min(self.burst);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.since = if self.left == self.burst { now } else { self.since + step * earned };
        }
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(shares: &mut Shares, sender: &str, messages: u32, now: Instant) -> u32 {
        (0..messages).map(|_| u32::from(shares.permit(sender, now))).sum()
    }

    #[test]
    fn a_flood_leaves_the_others_their_shares() {
        let begin = Instant::now();
        let mut shares = Shares::new("me", begin);
        shares.enter("one", begin);
        shares.enter("two", begin);
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
    fn made_up_replicas_get_no_more_than_what_is_left() {
        let now = Instant::now();
        let mut shares = Shares::new("me", now);
        shares.enter("one", now);
        for name in 0..1000 {
            shares.enter(&format!("x{name}"), now);
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
            assert!(shares.permit("me", begin + Duration::from_secs(1) * message / (RATE - 1)), "{message}");
        }
    }
}
