//! Failures that come again and again: some are logged, the others counted.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::mqtt::topic::Channel;
use crate::util::sync::lock;

/// Failures of one code on one channel that are logged in a minute; further ones are counted, and told in one line.
#[doc(alias = "bound")]
const MAX_LINES: u64 = 100;
/// Codes and channels whose failures are counted apart; those of further channels are counted together.
#[doc(alias = "bound")]
const MAX_KINDS: usize = 1024;

/// The failures since they were told last.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<(&'static str, Option<Channel>), u64>>);

impl Repeats {
    /// Counts a failure, and says whether it is to be logged.
    pub(super) fn permits(&self, code: &'static str, channel: &Channel) -> bool {
        let mut counts = lock(&self.0);
        let mut kind = (code, Some(channel.clone()));
        if counts.len() >= MAX_KINDS && !counts.contains_key(&kind) {
            kind.1 = None;
        }
        let count = counts.entry(kind).or_default();
        *count += 1;
        *count <= MAX_LINES
    }

    /// Takes how many were not logged, by code and channel.
    pub(super) fn take(&self) -> Vec<(&'static str, Option<Channel>, u64)> {
        let counts = std::mem::take(&mut *lock(&self.0));
        let left_out = |((code, channel), count): ((_, _), u64)| {
            count.checked_sub(MAX_LINES).filter(|more| *more > 0).map(|more| (code, channel, more))
        };
        counts.into_iter().filter_map(left_out).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: &str) -> Channel {
        Channel { domain: "d".into(), id: id.into() }
    }

    #[test]
    fn failures_are_counted_by_code_and_channel() {
        let repeats = Repeats::default();
        let logged = |code, id: &str, count: u64| (0..count).filter(|_| repeats.permits(code, &channel(id))).count();
        assert_eq!(logged("bad-request", "a", MAX_LINES), 100);
        assert!(repeats.take().is_empty());
        assert_eq!(logged("bad-request", "a", MAX_LINES + 7), 100);
        assert_eq!((logged("denied", "a", 1), logged("bad-request", "b", 1)), (1, 1));
        assert_eq!(repeats.take(), [("bad-request", Some(channel("a")), 7)]);
        assert_eq!(logged("bad-request", "a", 1), 1);
    }

    #[test]
    fn channels_without_end_take_no_memory_without_end() {
        let repeats = Repeats::default();
        for id in 0..MAX_KINDS as u64 + MAX_LINES + 3 {
            repeats.permits("bad-request", &channel(&id.to_string()));
        }
        assert_eq!(lock(&repeats.0).len(), MAX_KINDS + 1);
        assert_eq!(repeats.take(), [("bad-request", None, 3)]);
    }
}
