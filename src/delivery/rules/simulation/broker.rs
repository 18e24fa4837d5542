//! The broker: a persistent session for each proxy, which it loses when it crashes.

use std::collections::VecDeque;

use crate::delivery::rules::group::ReplicaStatus;

/// A message for a proxy.
#[derive(Clone)]
pub(super) enum Message {
    /// A request for an app; `task` is the device and its task.
    Request { app: usize, task: (usize, usize), is_queued: bool },
    /// A status message of a replica.
    Status { instance: String, app: usize, status: ReplicaStatus },
    /// A presence message, or the will of a connection.
    Presence { instance: String, is_online: bool, is_retained: bool },
}

/// The messages that wait for one proxy.
pub(super) type Session = VecDeque<Message>;
