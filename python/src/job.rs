//! Work of the core as a handle for Python, which waits for it, blocking or with a callback, and cancels it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::interpreter::park_if_exiting;
use crate::own::Own;
use crate::runtime::Process;

/// How often a blocking wait checks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Makes the result for Python: called once, by [`Job::result`], which holds the interpreter's lock.
pub(crate) type Reply = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

type Outcome = Result<Reply, Failure>;
/// Returns (done, total); the total is 0 while it is unknown.
type ReadProgress = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// The last progress of work whose source of progress goes away when it is done.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<(u64, u64)>>);

impl Progress {
    /// Replaces the last progress by `current`, unless that is unknown or smaller, and so of another transfer; returns the
    /// last one.
    pub(crate) fn advance(&self, current: Option<(u64, u64)>) -> (u64, u64) {
        let mut last = lock(&self.0);
        if let Some(current) = current.filter(|(done, total)| *total > 0 && *done >= last.0) {
            *last = current;
        }
        *last
    }

    pub(crate) fn complete(&self, total: u64) {
        *lock(&self.0) = (total, total);
    }
}

/// The result `None`.
pub(crate) fn none() -> Reply {
    Box::new(|py| Ok(py.None()))
}

/// Work of the core. Dropping the handle cancels it.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Job(Own<Work>);

struct Work {
    shared: Arc<Shared>,
    cancel: CancellationToken,
    progress: ReadProgress,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    is_done: bool,
    outcome: Option<Outcome>,
    callbacks: Vec<Py<PyAny>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn finish(&self, outcome: Outcome) {
        let callbacks = {
            let mut state = self.state();
            if state.is_done {
                return;
            }
            (state.is_done, state.outcome) = (true, Some(outcome));
            std::mem::take(&mut state.callbacks)
        };
        self.done.notify_all();
        if let Some(process) = Process::existing() {
            for callback in callbacks {
                process.callbacks.call(callback);
            }
        }
    }

    /// Returns whether the work is done, after `timeout` at most.
    fn wait(&self, timeout: Duration) -> bool {
        let waited = self.done.wait_timeout_while(self.state(), timeout, |state| !state.is_done);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_done
    }
}

/// Finishes a job even if the runtime drops its work, or the work panics.
struct Finisher(Arc<Shared>);

impl Drop for Finisher {
    fn drop(&mut self) {
        self.0.finish(Err(Failure::Closed("it was given up: the interpreter is exiting, or there is a bug".into())));
    }
}

impl Job {
    /// Starts work without progress.
    pub(crate) fn start(work: impl Future<Output = Outcome> + Send + 'static) -> Result<Self, Failure> {
        Self::start_with_progress(|| (0, 0), work)
    }

    /// Starts work whose progress, (done, total), `progress` returns.
    pub(crate) fn start_with_progress(
        progress: impl Fn() -> (u64, u64) + Send + Sync + 'static,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<Self, Failure> {
        let (shared, cancel) = (Arc::<Shared>::default(), CancellationToken::new());
        let (finisher, cancelled) = (Finisher(Arc::clone(&shared)), cancel.clone());
        Process::current()?.handle.spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = cancelled.cancelled() => Err(Failure::Cancelled),
                outcome = work => outcome,
            };
            finisher.0.finish(outcome);
        });
        Ok(Self(Own::new(Work { shared, cancel, progress: Box::new(progress) })))
    }
}

#[pymethods]
impl Job {
    /// Waits up to `timeout` seconds, without the interpreter's lock; returns whether the work is done. Handlers of signals
    /// run meanwhile, and their exceptions are raised.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let Work { shared, .. } = self.0.get()?;
        // Negative numbers and NaN count as 0; a timeout that is too long for a deadline has none.
        let timeout = Duration::try_from_secs_f64(timeout.max(0.0));
        let deadline = timeout.ok().and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let remaining =
                deadline.map_or(SIGNAL_INTERVAL, |deadline| deadline.saturating_duration_since(Instant::now()));
            if py.detach(|| shared.wait(remaining.min(SIGNAL_INTERVAL))) {
                park_if_exiting();
                return Ok(true);
            }
            py.check_signals()?;
            if remaining.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Returns the result or raises the error, once.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = self.0.get()?.shared.state().outcome.take();
        let missing = || Failure::Closed("it is not done, or its result was taken".into());
        outcome.ok_or_else(missing)??(py)
    }

    /// Calls `callback` without arguments when the work is done: from another thread, or at once if it is done already.
    fn on_done(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        {
            let mut state = self.0.get()?.shared.state();
            if !state.is_done {
                state.callbacks.push(callback);
                return Ok(());
            }
        }
        callback.call0(py).map(drop)
    }

    /// Cancels the work.
    fn cancel(&self) -> PyResult<()> {
        self.0.get()?.cancel.cancel();
        Ok(())
    }

    /// Returns (done, total); the total is 0 while it is unknown.
    fn progress(&self) -> PyResult<(u64, u64)> {
        Ok((self.0.get()?.progress)())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
