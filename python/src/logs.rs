//! The log of the core as records of Python's `logging`.

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::log_queue::{Line, ROOT_LOGGER};
use crate::runtime::{FLUSH_TIMEOUT, Process};

/// Installs the bridge from the log of the core to Python's.
pub(crate) fn install() {
    // If another extension module in this process has installed a log, that one is used.
    if log::set_boxed_logger(Box::new(Bridge)).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

struct Bridge;

impl Log for Bridge {
    /// Lines of the libraries below are passed on from the level WARN up: lower levels may hold HTTP headers.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(ROOT_LOGGER) || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(process) = Process::existing() {
            process.logs.send(Line::of(record, below_root(record.target())));
        }
    }

    fn flush(&self) {}
}

/// The name of a logger below [`ROOT_LOGGER`], also for the libraries.
fn below_root(target: &str) -> String {
    if target.starts_with(ROOT_LOGGER) { target.to_owned() } else { format!("{ROOT_LOGGER}::{target}") }
}

/// Waits until every line that was logged before is in Python's `logging`.
#[pyfunction]
pub(crate) fn flush_logs(py: Python<'_>) {
    py.detach(|| {
        if let Some(process) = Process::existing() {
            process.logs.flush(FLUSH_TIMEOUT);
        }
    });
}
