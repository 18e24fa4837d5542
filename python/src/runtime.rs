//! The async runtime of this process, with what has to end before the interpreter does.
//!
//! A fork copies neither threads nor what they were about to do. So each process has a runtime of its own, and what was
//! made in another process is neither used nor dropped.

use std::mem::ManuallyDrop;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callbacks::Callbacks;
use crate::failure::Failure;
use crate::logs::Logs;

/// How long services and links may take to leave when the interpreter exits.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// What belongs to one process. It is never freed, so that whoever found it may go on using it.
pub(crate) struct Process {
    pid: u32,
    pub(crate) handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    /// Cancelled when the interpreter exits.
    pub(crate) exit: CancellationToken,
    /// What has to come to its end then.
    pub(crate) services: TaskTracker,
    pub(crate) callbacks: Callbacks,
    pub(crate) logs: Logs,
}

impl Process {
    /// That of this process, if it has one yet. Takes no lock: a forked process would wait for ever for one that another
    /// thread held.
    #[allow(unsafe_code, reason = "the pointer is null or of a leaked box")]
    pub(crate) fn existing() -> Option<&'static Self> {
        let process = unsafe { CURRENT.load(Ordering::Acquire).as_ref() };
        process.filter(|process| process.pid == process::id())
    }

    /// That of this process.
    pub(crate) fn current() -> Result<&'static Self, Failure> {
        if IS_EXITING.load(Ordering::Acquire) {
            return Err(Failure::Closed("the interpreter is exiting".into()));
        }
        if let Some(process) = Self::existing() {
            return Ok(process);
        }
        let threads = |error: std::io::Error| Failure::Setup(format!("its threads cannot start: {error}"));
        let runtime =
            Builder::new_multi_thread().enable_all().thread_name("propeller-proxy").build().map_err(threads)?;
        let new = Box::leak(Box::new(Self {
            pid: process::id(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            exit: CancellationToken::new(),
            services: TaskTracker::new(),
            callbacks: Callbacks::start().map_err(threads)?,
            logs: Logs::start().map_err(threads)?,
        }));
        let old = CURRENT.load(Ordering::Acquire);
        // Another thread may have been first. What a parent process had stays where it is.
        if Self::existing().is_none() && CURRENT.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            return Ok(new);
        }
        new.shut_down(Duration::ZERO);
        Self::existing().ok_or_else(|| Failure::Closed("the process has forked meanwhile".into()))
    }

    fn shut_down(&self, timeout: Duration) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(timeout);
        }
    }
}

/// Ends everything that runs, before the interpreter does.
#[pyfunction]
pub(crate) fn exit(py: Python<'_>) {
    IS_EXITING.store(true, Ordering::Release);
    let Some(process) = Process::existing() else { return };
    py.detach(|| {
        process.exit.cancel();
        process.services.close();
        process.handle.block_on(async {
            // What takes longer is cut off: the broker sees the connection go.
            let _ = tokio::time::timeout(EXIT_TIMEOUT, process.services.wait()).await;
        });
        process.logs.flush();
        process.shut_down(EXIT_TIMEOUT);
    });
}

/// Something that belongs to the process that made it. In a forked one it can neither be used nor dropped: threads that
/// are not there may have held its locks.
pub(crate) struct Own<T> {
    pid: u32,
    value: ManuallyDrop<T>,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { pid: process::id(), value: ManuallyDrop::new(value) }
    }

    pub(crate) fn get(&self) -> Result<&T, Failure> {
        if self.pid == process::id() { Ok(&self.value) } else { Err(Failure::Forked) }
    }
}

impl<T> Drop for Own<T> {
    #[allow(unsafe_code, reason = "it is dropped once, and not used after")]
    fn drop(&mut self) {
        if self.pid == process::id() {
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}
