//! Calls into Python from a thread of its own, so that no task of the core waits for the interpreter's lock.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::interpreter::is_exiting;

/// The queue of callbacks of finished jobs. Its length is bounded by the number of jobs that are awaited.
pub(crate) struct Callbacks(mpsc::Sender<Entry>);

enum Entry {
    Callback(Py<PyAny>),
    /// Dropped by the thread when it gets there.
    Flush(mpsc::Sender<()>),
}

impl Callbacks {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, entries) = mpsc::channel();
        thread::Builder::new().name("propeller-callbacks".into()).spawn(move || {
            for entry in entries {
                match entry {
                    // No event loop goes on, and soon there is no interpreter that could drop the callback.
                    Entry::Callback(callback) if is_exiting() => std::mem::forget(callback),
                    Entry::Callback(callback) => {
                        Python::try_attach(move |py| {
                            let callback = callback.into_bound(py);
                            if let Err(error) = callback.call0() {
                                error.write_unraisable(py, Some(&callback));
                            }
                        });
                    }
                    Entry::Flush(done) => drop(done),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Queues a call of `callback` without arguments.
    pub(crate) fn call(&self, callback: Py<PyAny>) {
        // The thread ends with the process only.
        let _ = self.0.send(Entry::Callback(callback));
    }

    /// Waits until the calls that are queued now have returned, for `timeout` at most.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (done, flushed) = mpsc::channel();
        if self.0.send(Entry::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(timeout);
        }
    }
}
