//! A request on its way through the rules, and why it can be refused.

use std::time::Duration;

use crate::util::clock::Time;

/// Names a request on disk.
pub type RequestId = u64;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A device, now.
    Device,
    /// A device; the broker had the request in its queue.
    Queue,
    /// The disk: an earlier process had not covered it.
    Disk,
    /// A caller inside this process, who waits for this process only.
    Caller,
}

/// A request that is not covered yet. It lies in one place at a time: with the replicas, or in its transfer.
///
/// `W` is whatever its owner wants back when it is covered or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<W> {
    pub id: RequestId,
    pub arrived: Time,
    pub origin: Origin,
    pub waiter: W,
    /// The position of its transfer from which on it needs every chunk.
    pub(super) from: u64,
    /// Whether the broker acknowledged its first chunk. After a loss of the broker it gets all chunks again.
    has_first_chunk: bool,
}

impl<W> Request<W> {
    /// A request that arrived at `arrived`.
    pub fn new(id: RequestId, arrived: Time, origin: Origin, waiter: W) -> Self {
        Self { id, arrived, origin, waiter, from: 0, has_first_chunk: false }
    }

    /// Notes that the broker acknowledged `position`; returns the wait for it if that is the request's first chunk.
    pub(super) fn acknowledged(&mut self, position: u64, now: Time) -> Option<Duration> {
        let is_first = self.from == position && !self.has_first_chunk;
        self.has_first_chunk |= is_first;
        is_first.then(|| now.since(self.arrived))
    }
}

/// Why a request is rejected, or a transfer with its requests fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many requests are open as may be.
    OpenRequests,
    /// The channel has used its budget of repeated bytes.
    Repeats,
    /// More requests wait for other replicas than are watched.
    Watched,
    /// It is so old that no device waits for the answer; it came from there.
    TooLate(Origin),
    /// Every number of chunks that the module can be cut into is taken: devices would mix it with another version.
    NoTotal,
    /// More apps were sent lately than can be remembered.
    TooManyApps,
    /// The broker does not deliver the claim to the replica that published it.
    ClaimLost,
}
