//! Chance, from a seed.

use std::time::Duration;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub(super) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    pub(super) fn once_in(&mut self, ticks: u64) -> bool {
        self.below(ticks) == 0
    }

    /// The size of a module: one chunk, or enough of them that there are numbers to choose from.
    pub(super) fn size(&mut self) -> u64 {
        if self.once_in(4) { 1 + self.below(10) } else { 110 + self.below(60) }
    }

    pub(super) fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most * 1000))
    }
}
