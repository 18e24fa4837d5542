//! Random choices, the same ones with the same seed.

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher as _, Hasher as _},
    ops::RangeInclusive,
    time::Duration,
};

/// Names the seed with which a run that failed is repeated.
pub const SEED: &str = "TEST_SEED";

/// Returns the seed that [`SEED`] gives, or else a new one.
pub fn seed() -> u64 {
    env::var(SEED).map_or_else(
        |_| RandomState::new().build_hasher().finish(),
        |seed| seed.parse().unwrap_or_else(|_| panic!("{SEED} is no number")),
    )
}

/// One of the sequences of numbers of a seed.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, sequence: u64) -> Self {
        Self(seed ^ scatter(sequence))
    }

    /// Returns a number of `range`.
    pub fn pick(&mut self, range: RangeInclusive<u64>) -> u64 {
        let number = scatter(self.0);
        self.0 = self.0.wrapping_add(STEP);
        range.start() + number % (range.end() - range.start() + 1)
    }

    /// Returns the index of one of so many things.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.pick(0..=count as u64 - 1)).expect("less than the count")
    }

    /// Returns so many milliseconds as are in `range`.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.pick(range))
    }

    /// Returns another sequence.
    pub fn branch(&mut self) -> Self {
        Self(self.pick(0..=u64::MAX - 1))
    }

    /// Puts things in another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.index(last + 1));
        }
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns a number that looks unlike `number` (the finalizer of `SplitMix64`).
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(STEP);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
