//! What the schedule is given and returns.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::delivery::rules::request::Request;

/// The bounds of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are not yet covered.
    pub open_requests: usize,
    /// Passes a minute of an app of 1 MiB or more; two may follow each other at once.
    pub passes_per_minute: NonZeroU32,
    /// Bytes of messages a second and channel.
    pub publish_rate: Option<NonZeroU64>,
    /// Bytes of messages per channel in 360 s beyond the first copy of each module; any number if there is none.
    pub repeats: Option<u64>,
}

/// Names one transfer among all that this schedule ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub(super) u64);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It opened a transfer, whose module is still to be fetched.
    Opened {
        transfer: TransferId,
        /// The repeat of the app that it takes the place of.
        superseded: Option<TransferId>,
    },
    /// It joined a transfer.
    Joined {
        transfer: TransferId,
        /// The open requests of the transfer.
        requests: usize,
    },
}

/// A chunk that is to be published now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub transfer: TransferId,
    /// Its position in the transfer.
    pub position: u64,
    /// The chunk to publish.
    pub index: u64,
}

/// What an acknowledgement brought about.
#[derive(Debug, PartialEq, Eq)]
pub struct Covered<W> {
    /// The waits of requests for whose first chunk this was.
    pub first_chunks: Vec<Duration>,
    /// The requests that are now covered.
    pub requests: Vec<Request<W>>,
    /// How many requests the transfer has served so far.
    pub served: u64,
    /// Whether every request is covered.
    pub is_complete: bool,
}
