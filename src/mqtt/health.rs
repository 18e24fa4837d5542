//! Whether a connection is up.

use std::time::Duration;

/// The state of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it is connected and subscribed.
    pub is_up: bool,
    /// How many times it came up.
    pub connections: u64,
    /// How long it was down before it last came up; zero the first time.
    pub down_time: Duration,
}
