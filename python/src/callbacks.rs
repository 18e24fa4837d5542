//! Calls into Python from a thread of its own, so that no work of the core waits for the interpreter's lock.

use std::io;
use std::sync::mpsc;
use std::thread;

use pyo3::prelude::*;

/// Calls back when jobs are done. As many calls wait as there are jobs that somebody awaits.
pub(crate) struct Callbacks(mpsc::Sender<Py<PyAny>>);

impl Callbacks {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, waiting) = mpsc::channel::<Py<PyAny>>();
        thread::Builder::new().name("propeller-callbacks".into()).spawn(move || {
            for callback in waiting {
                // Nothing can be called any more when the interpreter has ended.
                Python::try_attach(|py| {
                    if let Err(error) = callback.call0(py) {
                        error.write_unraisable(py, Some(callback.bind(py)));
                    }
                });
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) fn call(&self, callback: Py<PyAny>) {
        // The thread ends with the process only.
        let _ = self.0.send(callback);
    }
}
