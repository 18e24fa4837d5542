//! Work under way in the core, as Python waits for it: blocking or with a callback, and cancelled in the same way.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::interpreter::park_if_exiting;
use crate::own::Own;
use crate::runtime::Process;

/// How often a blocking wait looks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// What Python gets when the work is done: made when somebody who holds the interpreter's lock wants it.
pub(crate) type Reply = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

type Outcome = Result<Reply, Failure>;
type Look = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// How far something is that cannot be looked at any more when it is done.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<(u64, u64)>>);

impl Progress {
    /// What is seen now; what was seen last, if nothing is, or less: then it is something else already.
    pub(crate) fn or_last(&self, seen: Option<(u64, u64)>) -> (u64, u64) {
        let mut last = lock(&self.0);
        if let Some(seen) = seen.filter(|(done, total)| *total > 0 && *done >= last.0) {
            *last = seen;
        }
        *last
    }

    /// It is done.
    pub(crate) fn complete(&self, total: u64) {
        *lock(&self.0) = (total, total);
    }
}

/// No value.
pub(crate) fn nothing() -> Reply {
    Box::new(|py| Ok(py.None()))
}

/// Work under way. Dropped, it is cancelled.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Job(Own<Work>);

struct Work {
    shared: Arc<Shared>,
    cancel: CancellationToken,
    look: Look,
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

    /// Waits for the end; returns whether it has come.
    fn wait(&self, timeout: Duration) -> bool {
        let waited = self.done.wait_timeout_while(self.state(), timeout, |state| !state.is_done);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_done
    }
}

/// Sees to it that a job ends even if the runtime drops its work, or that panics.
struct Finisher(Arc<Shared>);

impl Drop for Finisher {
    fn drop(&mut self) {
        self.0.finish(Err(Failure::Closed("it was given up: the interpreter is exiting, or there is a bug".into())));
    }
}

impl Job {
    /// Starts work that tells no progress.
    pub(crate) fn start(work: impl Future<Output = Outcome> + Send + 'static) -> Result<Self, Failure> {
        Self::start_with(|| (0, 0), work)
    }

    /// Starts work, and knows how to look at its progress.
    pub(crate) fn start_with(
        look: impl Fn() -> (u64, u64) + Send + Sync + 'static,
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
        Ok(Self(Own::new(Work { shared, cancel, look: Box::new(look) })))
    }
}

#[pymethods]
impl Job {
    /// Waits up to `timeout` seconds, without the interpreter's lock; returns whether it is done. A signal's handler runs
    /// meanwhile, and what it raises is raised.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let Work { shared, .. } = self.0.get()?;
        // Neither less than nothing nor no number; what is too long for a deadline has none.
        let timeout = Duration::try_from_secs_f64(timeout.max(0.0));
        let deadline = timeout.ok().and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map_or(SIGNAL_INTERVAL, |deadline| deadline.saturating_duration_since(Instant::now()));
            if py.detach(|| shared.wait(left.min(SIGNAL_INTERVAL))) {
                park_if_exiting();
                return Ok(true);
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// What came of it, once.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = self.0.get()?.shared.state().outcome.take();
        let missing = || Failure::Closed("it is not done, or its result was taken".into());
        outcome.ok_or_else(missing)??(py)
    }

    /// Has `callback` called without arguments when it is done.
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

    /// Stops the work.
    fn cancel(&self) -> PyResult<()> {
        self.0.get()?.cancel.cancel();
        Ok(())
    }

    /// What is done of it, and all there is to do; 0 while that is unknown.
    fn progress(&self) -> PyResult<(u64, u64)> {
        Ok((self.0.get()?.look)())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
