//! The positions of one transfer: which were published, which were acknowledged, and where it ends.

use std::collections::BTreeSet;

use super::rule::{Rule, holds};

/// The positions of a transfer. Position `p` carries chunk `p % total_chunks`.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) total_chunks: u64,
    /// The first position that was not published yet.
    pub(super) next: u64,
    /// The position at which every request is covered.
    pub(super) end: u64,
    in_flight: BTreeSet<u64>,
    /// Positions that were published, not acknowledged, and must be published again.
    lost: BTreeSet<u64>,
}

impl Pass {
    pub(super) fn new(total_chunks: u64) -> Self {
        Self { total_chunks, next: 0, end: total_chunks, in_flight: BTreeSet::new(), lost: BTreeSet::new() }
    }

    /// Whether there is a position to publish.
    pub(super) fn has_turn(&self) -> bool {
        self.next < self.end || !self.lost.is_empty()
    }

    /// Whether the next position to publish is the first of a round of all chunks.
    pub(super) fn begins_round(&self) -> bool {
        self.lost.is_empty() && self.next.is_multiple_of(self.total_chunks)
    }

    /// Takes the next position to publish.
    pub(super) fn take(&mut self) -> Option<u64> {
        let position = self.lost.pop_first().or_else(|| {
            let fresh = (self.next < self.end).then_some(self.next)?;
            self.next += 1;
            Some(fresh)
        })?;
        self.in_flight.insert(position);
        Some(position)
    }

    /// How many further positions cover a request that arrives now.
    pub(super) fn extra(&self) -> u64 {
        self.next + self.total_chunks - self.end
    }

    /// Goes on until a request that arrives now is covered.
    pub(super) fn extend(&mut self) {
        if holds(Rule::Coverage) {
            self.end = self.next + self.total_chunks;
        }
    }

    pub(super) fn acknowledge(&mut self, position: u64) {
        self.in_flight.remove(&position);
    }

    /// Whether this position was in flight, and is to be published again.
    pub(super) fn lose(&mut self, position: u64) -> bool {
        self.in_flight.remove(&position) && self.lost.insert(position)
    }

    /// The position below which everything is acknowledged.
    pub(super) fn floor(&self) -> u64 {
        let first = |positions: &BTreeSet<u64>| positions.first().copied().unwrap_or(self.next);
        first(&self.in_flight).min(first(&self.lost))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.floor() >= self.end
    }
}
