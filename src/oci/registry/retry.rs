//! When a registry is asked again.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tracing::debug;

use crate::error::Error;

/// Tries in a row, after the first, that bring nothing.
#[doc(alias = "bound")]
const MAX_RETRIES: usize = 4;
/// The wait before the first of them; the next ones wait longer.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest wait before one of them.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// No try begins later after the last progress than this and one [`MAX_DELAY`], so that a `Retry-After` of 30 s fits.
#[doc(alias = "bound")]
const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured; a registry that asks for more is not asked again.
#[doc(alias = "bound")]
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a try failed, and whether another one may succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may; perhaps the registry said after what time.
    Transient(Error, Option<Duration>),
    /// It cannot.
    Permanent(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Permanent(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(error, _) | Failure::Permanent(error) => error,
        }
    }
}

/// The tries at one thing.
#[derive(Debug)]
pub(super) struct Patience {
    /// `None` where the first try is the only one.
    delays: Option<ExponentialBackoff>,
    progress: Instant,
}

impl Patience {
    /// Patience for a registry, or none for a mirror: the next one has the same.
    pub(super) fn new(mirror: bool) -> Self {
        Self { delays: (!mirror).then(delays), progress: Instant::now() }
    }

    /// Notes that a try brought something, though not all.
    pub(super) fn progressed(&mut self) {
        if let Some(current) = &mut self.delays {
            *current = delays();
        }
        self.progress = Instant::now();
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure's, if there is to be none.
    pub(super) async fn wait(&mut self, failure: Failure) -> Result<(), Error> {
        let delay = self.delay(failure, self.progress.elapsed())?;
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// The wait before the next try, `idle` after the last progress.
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

/// Tries until it succeeds or patience ends; once only at a `mirror`.
pub(super) async fn retrying<T, F>(mirror: bool, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut patience = Patience::new(mirror);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure) => patience.wait(failure).await?,
        }
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
    fn patience_ends_without_progress() {
        let mut patience = Patience::new(false);
        for _ in 0..3 {
            for _ in 0..MAX_RETRIES {
                patience.delay(transient(None), Duration::ZERO).unwrap();
            }
            patience.progressed();
        }
        for _ in 0..MAX_RETRIES {
            patience.delay(transient(None), Duration::ZERO).unwrap();
        }
        patience.delay(transient(None), Duration::ZERO).unwrap_err();
        Patience::new(false).delay(transient(None), RETRY_WINDOW + MAX_DELAY).unwrap_err();
    }

    #[test]
    fn the_registry_may_say_when_but_not_too_late() {
        let mut patience = Patience::new(false);
        let asked = MAX_RETRY_AFTER.as_secs();
        assert_eq!(patience.delay(transient(Some(asked)), Duration::ZERO).unwrap(), MAX_RETRY_AFTER);
        patience.delay(transient(Some(asked)), MAX_RETRY_AFTER).unwrap_err();
        Patience::new(false).delay(transient(Some(asked + 1)), Duration::ZERO).unwrap_err();
    }

    #[test]
    fn mirrors_and_final_failures_have_one_try() {
        Patience::new(true).delay(transient(None), Duration::ZERO).unwrap_err();
        let stopping = Error::Stopping { app_name: "add".into() };
        Patience::new(false).delay(stopping.into(), Duration::ZERO).unwrap_err();
    }
}
