//! Whether the interpreter exits. From then on no thread but the exiting one may return to it.

use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

/// The thread in which the interpreter exits, once it does.
static EXITING: OnceLock<ThreadId> = OnceLock::new();

/// Records that the interpreter exits in this thread.
pub(crate) fn set_exiting() {
    // Set at most once: an interpreter exits once.
    let _ = EXITING.set(thread::current().id());
}

pub(crate) fn is_exiting() -> bool {
    EXITING.get().is_some()
}

/// Parks a daemon thread for good if the interpreter exits: nothing would receive its result.
pub(crate) fn park_if_exiting() {
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
