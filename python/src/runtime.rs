//! The async runtime of this process, with what has to end before the interpreter does.
//!
//! A fork copies neither threads nor what they were about to do. Libraries below us keep lists of waiting threads for the
//! whole process, which are of no use then. So a process that was forked from one with a runtime gets no other one, and
//! what it has inherited is neither used nor dropped.

use std::io;
use std::mem::ManuallyDrop;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Duration;

use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callbacks::Callbacks;
use crate::failure::Failure;
use crate::logs::Logs;

/// How long services and links may take to leave when the interpreter exits.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to hand over to Python what waits: a handler may wait for whoever flushes.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());
/// The thread in which the interpreter exits, once it does.
static EXITING: OnceLock<ThreadId> = OnceLock::new();

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
    /// That of this process, or of the one it was forked from. Takes no lock: a forked process would wait for ever for
    /// one that another thread held.
    #[allow(unsafe_code, reason = "the pointer is null or of a leaked box")]
    fn inherited() -> Option<&'static Self> {
        unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
    }

    /// That of this process, if it has one yet.
    pub(crate) fn existing() -> Option<&'static Self> {
        Self::inherited().filter(|process| process.pid == process::id())
    }

    /// That of this process.
    pub(crate) fn current() -> Result<&'static Self, Failure> {
        stay_if_exiting();
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
            logs: Logs::start()?,
        })
    }

    fn shut_down(&self, timeout: Duration) {
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(timeout);
        }
    }
}

/// Whether the interpreter exits.
pub(crate) fn is_exiting() -> bool {
    EXITING.get().is_some()
}

/// Lets a daemon thread stay here while the interpreter exits: it has nobody to report to.
pub(crate) fn stay_if_exiting() {
    if EXITING.get().is_some_and(|exiting| *exiting != thread::current().id()) {
        Python::attach(|py| {
            py.detach(|| {
                loop {
                    thread::park();
                }
            });
        });
    }
}

/// Ends everything that runs, before the interpreter does.
#[pyfunction]
pub(crate) fn exit(py: Python<'_>) {
    // Set at most once: an interpreter exits once.
    let _ = EXITING.set(thread::current().id());
    let Some(process) = Process::existing() else { return };
    py.detach(|| {
        process.exit.cancel();
        process.services.close();
        process.handle.block_on(async {
            // What takes longer is cut off: the broker sees the connection go.
            let _ = tokio::time::timeout(EXIT_TIMEOUT, process.services.wait()).await;
        });
        process.shut_down(EXIT_TIMEOUT);
        process.logs.close();
        process.callbacks.flush();
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
