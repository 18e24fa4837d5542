//! Whether the proxy can do its work now, and what is in its way.
//!
//! [`Service::readiness`](crate::service::Service::readiness) answers in time, whatever hangs: what has to be tried out
//! is tried by a task of its own, one at a time, and its outcome is remembered for a while.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the proxy can do its work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// It is connected to the broker, and subscribed to its requests.
    pub broker: Check,
    /// The configured registry answers.
    pub registry: Check,
    /// The folder of the store can be written to.
    pub store: Check,
    /// The folder of the state can be written to.
    pub state: Check,
}

impl Readiness {
    /// Whether nothing is in its way.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|(_, check)| check.ok)
    }

    /// The checks by name.
    #[must_use]
    pub fn checks(&self) -> [(&'static str, &Check); 4] {
        let Self { broker, registry, store, state } = self;
        [("broker", broker), ("registry", registry), ("store", store), ("state", state)]
    }
}

/// One thing that has to be well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether it is.
    pub ok: bool,
    /// What was found, for people.
    pub detail: Cow<'static, str>,
}

impl Check {
    pub(crate) fn new(ok: bool, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { ok, detail: detail.into() }
    }
}

/// Something that is tried out when its last outcome is too old, by one task at a time.
#[derive(Debug, Clone)]
pub(crate) struct Probe(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    latest: watch::Sender<Option<(Instant, Check)>>,
    is_running: AtomicBool,
    /// How long a good outcome is believed.
    good_for: Duration,
    /// How long a bad one is.
    bad_for: Duration,
    /// Is told each outcome.
    tell: fn(bool),
}

impl Probe {
    pub(crate) fn new(good_for: Duration, bad_for: Duration, tell: fn(bool)) -> Self {
        let (latest, is_running) = (watch::Sender::new(None), AtomicBool::new(false));
        Self(Arc::new(Inner { latest, is_running, good_for, bad_for, tell }))
    }

    /// Notes an outcome.
    pub(crate) fn note(&self, check: Check) {
        (self.0.tell)(check.ok);
        self.0.latest.send_replace(Some((Instant::now(), check)));
    }

    /// The last outcome, or that of `attempt`, on this runtime, if it is too old. What takes too long is taken for bad,
    /// and goes on.
    pub(crate) async fn outcome(&self, attempt: impl Future<Output = Check> + Send + 'static, on: &Handle) -> Check {
        let mut latest = self.0.latest.subscribe();
        let known = self.fresh(latest.borrow().as_ref());
        if let Some(known) = known {
            return known;
        }
        self.start(attempt, on);
        let answer =
            tokio::time::timeout(PATIENCE, latest.wait_for(|latest| self.fresh(latest.as_ref()).is_some())).await;
        let check = answer.ok().and_then(Result::ok).and_then(|latest| self.fresh(latest.as_ref()));
        check.unwrap_or_else(|| Check::new(false, format!("no answer within {} s", PATIENCE.as_secs())))
    }

    fn start(&self, attempt: impl Future<Output = Check> + Send + 'static, on: &Handle) {
        if self.0.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Running(self.clone());
        on.spawn(async move {
            let check = attempt.await;
            // Whoever finds it out of date at once may try again.
            let probe = running.0.clone();
            drop(running);
            probe.note(check);
        });
    }

    fn fresh(&self, latest: Option<&(Instant, Check)>) -> Option<Check> {
        let (time, check) = latest?;
        let good_for = if check.ok { self.0.good_for } else { self.0.bad_for };
        (time.elapsed() < good_for).then(|| check.clone())
    }
}

/// An attempt under way; ends with its task, however that ends.
struct Running(Probe);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.is_running.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn good() -> Check {
        Check::new(true, "good")
    }

    #[tokio::test]
    async fn an_outcome_is_remembered_while_it_is_fresh() {
        let (probe, attempts) = (Probe::new(LONG, Duration::ZERO, |_| ()), Arc::new(AtomicUsize::new(0)));
        let attempt = || {
            let attempts = Arc::clone(&attempts);
            async move {
                attempts.fetch_add(1, Ordering::Relaxed);
                good()
            }
        };
        for _ in 0..3 {
            assert_eq!(probe.outcome(attempt(), &Handle::current()).await, good());
        }
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        probe.note(Check::new(false, "bad"));
        assert_eq!(probe.outcome(attempt(), &Handle::current()).await, good());
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_hangs_is_bad_and_is_not_tried_twice_at_once() {
        let (probe, attempts) = (Probe::new(LONG, LONG, |_| ()), Arc::new(AtomicUsize::new(0)));
        let attempt = || {
            let attempts = Arc::clone(&attempts);
            async move {
                attempts.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            }
        };
        let bad = Check::new(false, "no answer within 2 s");
        let here = Handle::current();
        let both = tokio::join!(probe.outcome(attempt(), &here), probe.outcome(attempt(), &here));
        assert_eq!(both, (bad.clone(), bad));
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        probe.note(good());
        assert_eq!(probe.outcome(std::future::pending(), &here).await, good());
    }
}
