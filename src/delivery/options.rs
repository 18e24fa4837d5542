//! By which rules modules are delivered.

use std::num::NonZeroU32;

use super::rules::schedule::Limits;
use super::rules::versions::TagMoves;

/// How modules are delivered.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Bytes of module in one chunk.
    pub chunk_size: NonZeroU32,
    /// What becomes of a tag that moves.
    pub tag_moves: TagMoves,
    /// Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is sent. One message
    /// more than these bytes may be in flight.
    pub max_in_flight: usize,
    /// What the schedule is bounded by.
    pub limits: Limits,
}
