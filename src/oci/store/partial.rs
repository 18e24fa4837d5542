//! Downloads that were broken off: what has come is kept a while for the next try, and what exceeds the bounds is removed,
//! the oldest first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::util::sync::lock;

/// Downloads that were broken off and are kept.
#[doc(alias = "bound")]
const MAX_KEPT: usize = 16;
/// How long one is kept.
#[doc(alias = "bound")]
const MAX_AGE: Duration = Duration::from_secs(1800);

/// What is kept of downloads, by `K`, and its number of bytes; the oldest first.
pub(super) struct Partials<K, T> {
    kept: Mutex<VecDeque<(K, T, u64, Instant)>>,
    /// Bytes of all together.
    limit: u64,
}

impl<K: PartialEq, T> Partials<K, T> {
    pub(super) fn new(limit: u64) -> Self {
        Self { kept: Mutex::default(), limit }
    }

    /// Keeps a part of so many bytes.
    pub(super) fn keep(&self, key: K, part: T, bytes: u64) {
        let mut kept = lock(&self.kept);
        kept.retain(|(_, _, _, since)| since.elapsed() < MAX_AGE);
        kept.push_back((key, part, bytes, Instant::now()));
        let total = |kept: &VecDeque<(K, T, u64, Instant)>| kept.iter().map(|(_, _, bytes, _)| bytes).sum::<u64>();
        while kept.len() > MAX_KEPT || total(&kept) > self.limit {
            kept.pop_front();
        }
    }

    /// Takes what is kept with this key.
    pub(super) fn take(&self, key: &K) -> Option<T> {
        let mut kept = lock(&self.kept);
        kept.retain(|(_, _, _, since)| since.elapsed() < MAX_AGE);
        let index = kept.iter().position(|(of, ..)| of == key)?;
        kept.remove(index).map(|(_, part, ..)| part)
    }
}

impl<K, T> fmt::Debug for Partials<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partials").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_parts_make_room() {
        let partials = Partials::new(100);
        partials.keep("first", 1, 60);
        partials.keep("second", 2, 30);
        partials.keep("third", 3, 20);
        assert_eq!(
            (partials.take(&"first"), partials.take(&"second"), partials.take(&"second")),
            (None, Some(2), None)
        );
        partials.keep("large", 4, 101);
        assert_eq!((partials.take(&"third"), partials.take(&"large")), (None, None));
        for number in 0..=MAX_KEPT {
            partials.keep("small", number, 1);
        }
        assert_eq!(partials.take(&"small"), Some(1));
    }
}
