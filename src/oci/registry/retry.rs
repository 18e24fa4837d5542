//! When a failed exchange is retried.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tracing::debug;

use super::failure::Failure;
use crate::error::Error;

/// Retries without progress.
#[doc(alias = "bound")]
const MAX_RETRIES: usize = 4;
/// The wait before the first retry; it grows exponentially.
#[doc(alias = "bound")]
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest wait before a retry.
#[doc(alias = "bound")]
const MAX_DELAY: Duration = Duration::from_secs(5);
/// No retry starts later after the last progress than this and one [`MAX_DELAY`], so that a `Retry-After` of 30 s fits.
#[doc(alias = "bound")]
const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured; after a longer one there is no retry.
#[doc(alias = "bound")]
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The retries that remain.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// `None` where there are no retries.
    delays: Option<ExponentialBackoff>,
    /// When the last progress was.
    progress: Instant,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { delays: Some(delays()), progress: Instant::now() }
    }
}

impl RetryBudget {
    pub(super) fn none() -> Self {
        Self { delays: None, ..Self::default() }
    }

    /// Runs `attempt` until it succeeds or the budget ends.
    pub(super) async fn run<T, F>(mut self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait(failure).await?,
            }
        }
    }

    /// Renews the budget: an attempt made progress, though it failed.
    pub(super) fn renew(&mut self) {
        if let Some(delays) = &mut self.delays {
            *delays = self::delays();
        }
        self.progress = Instant::now();
    }

    /// Waits before the next retry.
    ///
    /// # Errors
    /// The failure's, if the budget has no retry for it.
    pub(super) async fn wait(&mut self, failure: Failure) -> Result<(), Error> {
        let delay = self.delay(failure, self.progress.elapsed())?;
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// The wait before the next retry, `idle` after the last progress.
    fn delay(&mut self, failure: Failure, idle: Duration) -> Result<Duration, Error> {
        let Failure::Transient(error, after) = failure else { return Err(failure.into()) };
        let Some(delay) = self.delays.as_mut().and_then(Iterator::next) else { return Err(error) };
        let delay = after.map_or(delay, |after| after.max(delay));
        if after.is_some_and(|after| after > MAX_RETRY_AFTER) || idle + delay > RETRY_WINDOW + MAX_DELAY {
            return Err(error);
        }
        debug!(%error, delay = delay.as_secs_f64(), "trying again");
        Ok(delay)
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(MAX_DELAY)
        .with_max_times(MAX_RETRIES)
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transient(after: Option<u64>) -> Failure {
        let error = Error::RegistryUnreachable { object: "registry".into(), detail: "it is away".into() };
        Failure::Transient(error, after.map(Duration::from_secs))
    }

    #[test]
    fn the_budget_ends_without_progress() {
        let mut budget = RetryBudget::default();
        for _ in 0..3 {
            for _ in 0..MAX_RETRIES {
                budget.delay(transient(None), Duration::ZERO).unwrap();
            }
            budget.renew();
        }
        for _ in 0..MAX_RETRIES {
            budget.delay(transient(None), Duration::ZERO).unwrap();
        }
        budget.delay(transient(None), Duration::ZERO).unwrap_err();
        RetryBudget::default().delay(transient(None), RETRY_WINDOW + MAX_DELAY).unwrap_err();
    }

    #[test]
    fn the_registry_may_say_when_but_not_too_late() {
        let mut budget = RetryBudget::default();
        let named = MAX_RETRY_AFTER.as_secs();
        assert_eq!(budget.delay(transient(Some(named)), Duration::ZERO).unwrap(), MAX_RETRY_AFTER);
        budget.delay(transient(Some(named)), MAX_RETRY_AFTER).unwrap_err();
        RetryBudget::default().delay(transient(Some(named + 1)), Duration::ZERO).unwrap_err();
    }

    #[test]
    fn mirrors_and_final_failures_have_one_try() {
        RetryBudget::none().delay(transient(None), Duration::ZERO).unwrap_err();
        let stopping = Error::Stopping { app_name: "add".into() };
        RetryBudget::default().delay(stopping.into(), Duration::ZERO).unwrap_err();
    }
}
