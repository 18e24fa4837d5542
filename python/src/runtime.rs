//! The async runtime of this process, and its shutdown before the interpreter exits.
//!
//! A fork copies neither threads nor the work that they had begun, and libraries below keep process-wide lists of waiting
//! threads, which are invalid in the child. So a process that was forked from one with a runtime gets no other one, and
//! neither uses nor drops what it has inherited.

use std::io;
use std::process;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callbacks::Callbacks;
use crate::failure::Failure;
use crate::interpreter;
use crate::log_queue::LogQueue;

/// How long services and connections may take to end when the interpreter exits.
#[doc(alias = "bound")]
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a flush of log lines or callbacks may take: a handler may itself wait for the thread that flushes.
#[doc(alias = "bound")]
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// The resources of one process. They are never freed, so that references to them stay valid.
pub(crate) struct Process {
    pid: u32,
    pub(crate) handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    /// Cancelled when the interpreter exits.
    pub(crate) exit: CancellationToken,
    /// Tasks for which the exit waits.
    pub(crate) services: TaskTracker,
    pub(crate) callbacks: Callbacks,
    pub(crate) logs: LogQueue,
}

impl Process {
    /// The resources of this process, or of the one it was forked from. Takes no lock: a forked process would wait for
    /// ever for one that another thread held.
    #[allow(unsafe_code, reason = "the pointer is null or of a leaked box")]
    fn inherited() -> Option<&'static Self> {
        unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
    }

    /// The resources of this process, if it has any yet.
    pub(crate) fn existing() -> Option<&'static Self> {
        Self::inherited().filter(|process| process.pid == process::id())
    }

    /// The resources of this process, made on the first call.
    pub(crate) fn current() -> Result<&'static Self, Failure> {
        interpreter::park_if_exiting();
        if Self::inherited().is_some() {
            return Self::existing().ok_or(Failure::Forked);
        }
        let new = Self::new().map_err(|error| Failure::Setup(format!("its threads cannot start: {error}")))?;
        let new = Box::leak(Box::new(new));
        if CURRENT.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // Another thread was first.
            new.shut_down(Duration::ZERO);
        }
        Self::existing().ok_or(Failure::Forked)
    }

    fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("propeller-proxy").build()?;
        Ok(Self {
            pid: process::id(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            exit: CancellationToken::new(),
            services: TaskTracker::new(),
            callbacks: Callbacks::start()?,
            logs: LogQueue::start()?,
        })
    }

    fn shut_down(&self, timeout: Duration) {
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(timeout);
        }
    }
}

/// Ends every task and thread, before the interpreter exits.
#[pyfunction]
pub(crate) fn exit(py: Python<'_>) {
    interpreter::set_exiting();
    let Some(process) = Process::existing() else { return };
    py.detach(|| {
        process.exit.cancel();
        process.services.close();
        process.handle.block_on(async {
            // Services that take longer are cut off: the broker sees the connection close.
            let _ = tokio::time::timeout(EXIT_TIMEOUT, process.services.wait()).await;
        });
        process.shut_down(EXIT_TIMEOUT);
        process.logs.close(FLUSH_TIMEOUT);
        process.callbacks.flush(FLUSH_TIMEOUT);
    });
}
