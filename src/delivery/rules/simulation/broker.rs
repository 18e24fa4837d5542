//! The broker: a persistent session for each proxy, which it loses when it crashes.

use std::collections::VecDeque;

use crate::delivery::rules::versions::Version;

/// What a replica publishes of an app.
#[derive(Clone, Copy)]
pub(super) enum Status {
    /// It serves the app, and knows this version; a claim if it says so.
    Serves(Option<Version>, bool),
    /// It knows a version in as many chunks as a claim has.
    Objects(Version),
    /// It has ended its transfer.
    Ended(Option<Version>),
}

/// A message for a proxy.
#[derive(Clone)]
pub(super) enum Message {
    /// A request for an app; `task` is the device and its task.
    Request { app: usize, task: (usize, usize), is_queued: bool },
    /// A status message of a replica.
    Status { instance: String, app: usize, status: Status },
}

/// The messages that wait for one proxy.
pub(super) type Session = VecDeque<Message>;
