//! How long the broker has been away, and when to try again.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Backoff;
use crate::mqtt::BrokerAddress;

/// How long a connection lasts that ends an outage.
const STABLE_TIME: Duration = Duration::from_secs(5);
/// How often a broker that stays away is mentioned in the log.
const REMINDER_INTERVAL: Duration = Duration::from_secs(10);

/// How long the broker has been away, or how lately it was.
#[derive(Debug, Default)]
pub(super) struct Outage {
    attempts: u32,
    mentioned: Option<Instant>,
    /// When the broker took us back; if it lets us go again soon, that is the same outage.
    ended: Option<Instant>,
}

impl Outage {
    /// Logs an outage when it begins and now and then; returns the wait before the next attempt.
    pub(super) fn begin_or_continue(
        &mut self,
        address: &BrokerAddress,
        retries: &Backoff,
        error: &impl Display,
    ) -> Duration {
        if self.ended.take().is_some_and(|ended| ended.elapsed() >= STABLE_TIME) {
            *self = Self::default();
        }
        let attempts = self.attempts;
        if self.mentioned.is_none_or(|mentioned| mentioned.elapsed() >= REMINDER_INTERVAL) {
            self.mentioned = Some(Instant::now());
            warn!(event = "connection-failed", broker = %address, %error, attempts, "no connection to the broker; trying again");
        }
        self.attempts += 1;
        retries.longest.min(retries.first * 2_u32.saturating_pow(attempts.min(8)))
    }

    pub(super) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }
}
