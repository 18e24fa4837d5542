//! Random points of a transfer, at which something happens to it.

use std::{fmt, ops::RangeInclusive, panic::AssertUnwindSafe};

use futures_util::{FutureExt as _, StreamExt as _, stream};

use crate::support::random::{Random, SEED, seed};

const POINTS: u64 = 20;

/// A point of a transfer, and the randomness of what happens there.
#[derive(Clone)]
pub struct Point {
    /// Which of the points of a test it is, from 0.
    pub index: u64,
    /// How many chunks the device has received at it.
    pub chunks: u64,
    total_chunks: u64,
    seed: u64,
}

impl Point {
    /// Returns a number of `range`, the same one each time.
    pub fn pick(&self, range: RangeInclusive<u64>) -> u64 {
        Random::new(self.seed, self.index).pick(range)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, chunks, total_chunks, seed } = self;
        write!(formatter, "point {index}, after {chunks} of {total_chunks} chunks ({SEED}={seed})")
    }
}

/// Runs `trial` at 20 points of a transfer, so many at once: before the first chunk, after the last, and at random ones
/// that are spread over all between. Every trial runs to its end; it panics at the end if one of them did.
pub async fn at_random_points<F: Future<Output = ()>>(total_chunks: u64, at_once: usize, trial: impl Fn(Point) -> F) {
    let failed: Vec<_> = stream::iter(points(total_chunks))
        .map(|point| {
            let outcome = AssertUnwindSafe(trial(point.clone())).catch_unwind();
            async move { outcome.await.err().map(|_| point.to_string()) }
        })
        .buffer_unordered(at_once)
        .filter_map(|failed| async move { failed })
        .collect()
        .await;
    assert!(failed.is_empty(), "{} of {POINTS} failed, for the reasons above: {failed:#?}", failed.len());
}

fn points(total_chunks: u64) -> impl Iterator<Item = Point> {
    let seed = seed();
    let inner = POINTS - 2;
    (0..POINTS).map(move |index| {
        let mut point = Point { index, chunks: 0, total_chunks, seed };
        point.chunks = match index {
            0 => 0,
            index if index > inner => total_chunks,
            index => point
                .pick((index - 1) * total_chunks / inner + 1..=(index * total_chunks / inner).min(total_chunks - 1)),
        };
        point
    })
}
