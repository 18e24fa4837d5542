//! What a channel may get: bytes a second, and repeated bytes in a while.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::mqtt::topic::Channel;
use crate::oci::digest::Digest;
use crate::util::clock::Time;

/// How long published bytes count against the budget of a channel: as long as devices may keep an incomplete module.
#[doc(alias = "bound")]
pub const BUDGET_WINDOW: Duration = Duration::from_secs(360);
/// Modules whose first copy is remembered, and channels before idle ones are removed. The first copy of a further module
/// counts as repeated.
#[doc(alias = "bound")]
const MAX_COPIES: usize = 1 << 16;
/// How far a channel may be ahead of its rate, milliseconds.
#[doc(alias = "bound")]
const BURST: u64 = 100;

/// The budgets of all channels.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Bytes a second of one channel.
    rate: Option<NonZeroU64>,
    /// Bytes of one channel beyond the first copies, in [`BUDGET_WINDOW`]; any number if there is none.
    repeats: Option<u64>,
    pace: HashMap<Arc<Channel>, Pace>,
    repeated: HashMap<Arc<Channel>, Spent>,
    copies: HashMap<(Arc<Channel>, Digest), Time>,
}

/// What a channel has got ahead of its rate.
#[derive(Debug, Default)]
struct Pace {
    /// Thousandths of bytes, so that nothing is lost to rounding.
    ahead: u64,
    at: Time,
}

#[derive(Debug, Default)]
struct Spent {
    bytes: u64,
    parts: VecDeque<(Time, u64)>,
}

impl Budgets {
    pub(super) fn new(rate: Option<NonZeroU64>, repeats: Option<u64>) -> Self {
        Self { rate, repeats, pace: HashMap::new(), repeated: HashMap::new(), copies: HashMap::new() }
    }

    /// When the channel may get its next message.
    pub(super) fn free_at(&self, channel: &Channel) -> Time {
        let (Some(rate), Some(pace)) = (self.rate, self.pace.get(channel)) else { return Time::default() };
        pace.at + Duration::from_millis(pace.ahead.div_ceil(rate.get()).saturating_sub(BURST))
    }

    /// Notes that the channel gets a message of `bytes`.
    pub(super) fn publish(&mut self, channel: &Arc<Channel>, bytes: u64, now: Time) {
        let Some(rate) = self.rate else { return };
        if self.pace.len() >= MAX_COPIES {
            self.pace.retain(|_, pace| now.since(pace.at) < BUDGET_WINDOW);
        }
        let pace = self.pace.entry(Arc::clone(channel)).or_default();
        let gone = u64::try_from(now.since(pace.at).as_millis()).unwrap_or(u64::MAX).saturating_mul(rate.get());
        *pace = Pace { ahead: pace.ahead.saturating_sub(gone).saturating_add(bytes.saturating_mul(1000)), at: now };
    }

    /// Takes the first copy of a module, whatever it is called, or `bytes` from the budget of its channel; whether there are as
    /// many.
    pub(super) fn copy(&mut self, channel: &Arc<Channel>, module: Digest, bytes: u64, now: Time) -> bool {
        if self.repeats.is_none() {
            return true;
        }
        let is_recent = |at: &Time| now.since(*at) < BUDGET_WINDOW;
        if self.copies.len() >= MAX_COPIES {
            self.copies.retain(|_, at| is_recent(at));
        }
        let copy = (Arc::clone(channel), module);
        if !self.copies.get(&copy).is_some_and(is_recent) && self.copies.len() < MAX_COPIES {
            self.copies.insert(copy, now);
            return true;
        }
        self.repeat(channel, bytes, now)
    }

    /// Takes `bytes` from the budget of a channel; whether there are as many.
    pub(super) fn repeat(&mut self, channel: &Arc<Channel>, bytes: u64, now: Time) -> bool {
        let Some(most) = self.repeats else { return true };
        if self.repeated.len() >= MAX_COPIES {
            self.repeated.retain(|_, spent| spent.parts.back().is_some_and(|(at, _)| now.since(*at) < BUDGET_WINDOW));
        }
        let spent = self.repeated.entry(Arc::clone(channel)).or_default();
        while let Some(&(at, old)) = spent.parts.front()
            && now.since(at) >= BUDGET_WINDOW
        {
            spent.bytes -= old;
            spent.parts.pop_front();
        }
        if bytes > most.saturating_sub(spent.bytes) {
            return false;
        }
        spent.bytes += bytes;
        match spent.parts.back_mut() {
            // One entry a second is exact enough, and bounds them.
            Some((at, sum)) if now.since(*at) < Duration::from_secs(1) => *sum += bytes,
            _ => spent.parts.push_back((now, bytes)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: &str) -> Arc<Channel> {
        Arc::new(Channel { domain: "d".into(), id: id.into() })
    }

    #[test]
    fn a_channel_keeps_its_rate_to_the_byte() {
        let mut budgets = Budgets::new(NonZeroU64::new(1000), Some(0));
        let channel = channel("c");
        let (mut now, mut bytes) = (Time(1_000_000), 0);
        while now < Time(1_010_000) {
            if budgets.free_at(&channel) <= now {
                budgets.publish(&channel, 3, now);
                bytes += 3;
            } else {
                now = now + Duration::from_millis(1);
            }
        }
        assert!((10_000..=10_103).contains(&bytes), "{bytes}");
    }

    #[test]
    fn first_copies_are_free_and_repeats_are_not() {
        let mut budgets = Budgets::new(None, Some(100));
        let (start, one, other) = (Time(1_000_000), channel("one"), channel("other"));
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        assert!(budgets.copy(&one, a, 1000, start) && budgets.copy(&one, b, 1000, start));
        assert!(budgets.copy(&one, a, 60, start));
        assert!(!budgets.copy(&one, b, 60, start));
        assert!(budgets.repeat(&one, 40, start));
        assert!(budgets.copy(&other, a, 1000, start) && budgets.copy(&other, a, 100, start), "it has its own");
        let later = start + BUDGET_WINDOW;
        assert!(budgets.copy(&one, a, 1000, later), "its first copy is forgotten");
        assert!(budgets.copy(&one, a, 100, later));
    }

    #[test]
    fn without_a_budget_nothing_is_refused() {
        let mut budgets = Budgets::new(None, None);
        let (start, channel) = (Time(1_000_000), channel("c"));
        // 60 devices in 6 min, each of which gets 20 MB.
        for device in 0..60 {
            let now = start + Duration::from_secs(6 * device);
            assert!(budgets.copy(&channel, Digest::of(b"a"), 27_000_000, now), "device {device}");
            assert!(budgets.repeat(&channel, u64::MAX, now));
        }
    }
}
