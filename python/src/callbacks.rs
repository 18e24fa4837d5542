//! Calls into Python from a thread of its own, so that no work of the core waits for the interpreter's lock.

use std::io;
use std::sync::mpsc;
use std::thread;

use pyo3::prelude::*;

use crate::runtime::{FLUSH_TIMEOUT, is_exiting};

/// Calls back when jobs are done. As many calls wait as there are jobs that somebody awaits.
pub(crate) struct Callbacks(mpsc::Sender<Call>);

enum Call {
    Back(Py<PyAny>),
    Flush(mpsc::Sender<()>),
}

impl Callbacks {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, waiting) = mpsc::channel();
        thread::Builder::new().name("propeller-callbacks".into()).spawn(move || {
            for call in waiting {
                match call {
                    // Nobody is to go on, and soon there is no interpreter that could drop it.
                    Call::Back(callback) if is_exiting() => std::mem::forget(callback),
                    Call::Back(callback) => {
                        Python::try_attach(move |py| {
                            let callback = callback.into_bound(py);
                            if let Err(error) = callback.call0() {
                                error.write_unraisable(py, Some(&callback));
                            }
                        });
                    }
                    Call::Flush(done) => drop(done),
                }
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) fn call(&self, callback: Py<PyAny>) {
        // The thread ends with the process only.
        let _ = self.0.send(Call::Back(callback));
    }

    /// Waits until no call is under way.
    pub(crate) fn flush(&self) {
        let (done, flushed) = mpsc::channel();
        if self.0.send(Call::Flush(done)).is_ok() {
            // Its end is dropped when it is reached.
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}
