//! When to reconnect, and when to log that the broker is unreachable.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tracing::warn;

use super::address::BrokerAddress;

/// How long a connection has to last before a later failure starts again with the first wait.
const STABLE_TIME: Duration = Duration::from_secs(5);
/// The shortest interval of two log lines about an unreachable broker.
#[doc(alias = "bound")]
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The waits between attempts to connect: each twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Backoff {
    /// For a check: the first failure ends the connection.
    pub const NONE: Self = Self { first: Duration::ZERO, longest: Duration::ZERO };
    /// For the proxy, which has to be subscribed again before the devices are.
    pub const EAGER: Self = Self { first: Duration::from_millis(10), longest: Duration::from_millis(150) };
    /// For a stock device: it tries 1, 3, 7, 15, 31, 63 s after the loss.
    pub const STOCK: Self = Self { first: Duration::from_secs(1), longest: Duration::from_secs(32) };
}

/// The failed attempts to connect in a row.
#[derive(Debug)]
pub(super) struct Retries {
    backoff: Backoff,
    attempts: u32,
    logged_at: Option<Instant>,
    /// When the last connection came up. If it fails within [`STABLE_TIME`], the attempts go on counting.
    connected_at: Option<Instant>,
}

impl Retries {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, attempts: 0, logged_at: None, connected_at: None }
    }

    /// Whether the first failure ends the connection.
    pub(super) fn are_off(&self) -> bool {
        self.backoff == Backoff::NONE
    }

    /// Logs a failure, the first one and then every [`LOG_INTERVAL`]; returns the wait before the next attempt.
    pub(super) fn fail(&mut self, address: &BrokerAddress, error: &impl Display) -> Duration {
        if self.connected_at.take().is_some_and(|connected_at| connected_at.elapsed() >= STABLE_TIME) {
            *self = Self::new(self.backoff);
        }
        let attempts = self.attempts;
        if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            warn!(event = "connection-failed", broker = %address, %error, attempts, "no connection to the broker; trying again");
        }
        self.attempts += 1;
        self.backoff.longest.min(self.backoff.first * 2_u32.saturating_pow(attempts.min(8)))
    }

    /// Notes that the connection is up.
    pub(super) fn succeed(&mut self) {
        self.connected_at = Some(Instant::now());
    }
}
