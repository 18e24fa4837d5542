//! The log of the core in Python's `logging`: handed over by a thread of its own, so that the core never waits for a
//! handler or for the interpreter's lock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::runtime::{FLUSH_TIMEOUT, Process};

/// The logger above all of ours.
const NAME: &str = "propeller_proxy";
/// Lines that may wait for Python; further ones are left out, and counted.
#[doc(alias = "bound")]
const MAX_WAITING: usize = 8192;
/// How often a flush looks whether there is room for it.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The way of the lines of one process to Python.
pub(crate) struct Logs {
    lines: SyncSender<Entry>,
    left_out: AtomicU64,
    is_closed: AtomicBool,
}

enum Entry {
    Line(Line),
    Flush(mpsc::Sender<()>),
}

struct Line {
    level: Level,
    target: String,
    message: String,
    file: Option<&'static str>,
    at: Option<u32>,
}

/// Makes the log of the core Python's.
pub(crate) fn install() {
    // Another extension module in this process may have a log; then that one is used.
    if log::set_boxed_logger(Box::new(Relay)).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// The name of a logger of ours, also for the libraries below.
fn ours(target: &str) -> String {
    if target.starts_with(NAME) { target.to_owned() } else { format!("{NAME}::{target}") }
}

struct Relay;

impl Log for Relay {
    /// The libraries below are heard only when something is wrong: their lower levels may hold headers.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(NAME) || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(process) = Process::existing() {
            process.logs.send(Line {
                level: record.level(),
                target: ours(record.target()),
                message: record.args().to_string(),
                file: record.file_static(),
                at: record.line(),
            });
        }
    }

    fn flush(&self) {}
}

impl Logs {
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(MAX_WAITING);
        thread::Builder::new().name("propeller-logs".into()).spawn(move || {
            let mut logger = None;
            for entry in waiting {
                match entry {
                    Entry::Line(line) => {
                        Python::try_attach(|py| {
                            if logger.is_none() {
                                logger = python_logger(py).ok();
                            }
                            if let Some(logger) = &logger {
                                line.log(logger);
                            }
                            // What a handler or filter raised.
                            if let Some(error) = PyErr::take(py) {
                                error.write_unraisable(py, None);
                            }
                        });
                    }
                    Entry::Flush(done) => drop(done),
                }
            }
        })?;
        Ok(Self { lines, left_out: AtomicU64::new(0), is_closed: AtomicBool::new(false) })
    }

    fn send(&self, line: Line) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        if self.lines.try_send(Entry::Line(line)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let message = format!("{left_out} lines were left out before: Python takes them too slowly");
            let line = Line { level: Level::Warn, target: NAME.into(), message, file: None, at: None };
            if self.lines.try_send(Entry::Line(line)).is_err() {
                self.left_out.fetch_add(left_out, Ordering::Relaxed);
            }
        }
    }

    /// Waits until Python has what was logged so far.
    pub(crate) fn flush(&self) {
        let (done, flushed) = mpsc::channel();
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut entry = Entry::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.lines.try_send(entry) {
            if Instant::now() >= deadline {
                return;
            }
            entry = refused;
            thread::sleep(RETRY_INTERVAL);
        }
        // Its end is dropped when it is reached.
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// From now on nothing is handed over.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.flush();
    }
}

/// The way into `logging`. As libraries do, ours is silent where the program has not set up a log.
fn python_logger(py: Python<'_>) -> PyResult<Logger> {
    let logging = py.import("logging")?;
    let ours = logging.call_method1("getLogger", (NAME,))?;
    ours.call_method1("addHandler", (logging.call_method0("NullHandler")?,))?;
    // Levels may be changed at any time, so Python is asked for each line.
    Logger::new(py, Caching::Loggers)
}

impl Line {
    fn log(&self, logger: &Logger) {
        logger.log(
            &Record::builder()
                .level(self.level)
                .target(&self.target)
                .args(format_args!("{}", self.message))
                .file_static(self.file)
                .line(self.at)
                .build(),
        );
    }
}

/// Waits until what was logged so far is in Python's `logging`.
#[pyfunction]
pub(crate) fn flush_logs(py: Python<'_>) {
    py.detach(|| {
        if let Some(process) = Process::existing() {
            process.logs.flush();
        }
    });
}
