//! A bounded queue of log records, passed to Python's `logging` by a thread of its own, so that the core never waits for a
//! handler or for the interpreter's lock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, Log as _, Record};
use propeller_proxy::error::escaped;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

/// The root of the package's loggers.
pub(crate) const ROOT_LOGGER: &str = "propeller_proxy";
/// Records that wait for Python; further ones are dropped and counted.
#[doc(alias = "bound")]
const MAX_QUEUED: usize = 8192;
/// How often a flush checks whether the queue has room for its marker.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The queue of one process.
pub(crate) struct LogQueue {
    entries: SyncSender<Entry>,
    dropped: AtomicU64,
    is_closed: AtomicBool,
}

enum Entry {
    Line(Line),
    /// Dropped by the thread when it gets there.
    Flush(mpsc::Sender<()>),
}

/// An owned log record.
pub(crate) struct Line {
    level: Level,
    target: String,
    message: String,
    file: Option<&'static str>,
    number: Option<u32>,
}

impl Line {
    /// A copy of `record`, for the logger of `target`; as one line, whatever names from elsewhere hold.
    pub(crate) fn of(record: &Record<'_>, target: String) -> Self {
        Self {
            level: record.level(),
            target,
            message: escaped(&record.args().to_string()).into_owned(),
            file: record.file_static(),
            number: record.line(),
        }
    }

    fn log(&self, logger: &Logger) {
        logger.log(
            &Record::builder()
                .level(self.level)
                .target(&self.target)
                .args(format_args!("{}", self.message))
                .file_static(self.file)
                .line(self.number)
                .build(),
        );
    }
}

impl LogQueue {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, entries) = mpsc::sync_channel(MAX_QUEUED);
        thread::Builder::new().name("propeller-logs".into()).spawn(move || {
            let mut logger = None;
            for entry in entries {
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
        Ok(Self { entries: sender, dropped: AtomicU64::new(0), is_closed: AtomicBool::new(false) })
    }

    /// Queues a line; drops it if the queue is full or closed.
    pub(crate) fn send(&self, line: Line) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!("{dropped} lines were left out before: Python takes them too slowly");
            let line = Line { level: Level::Warn, target: ROOT_LOGGER.into(), message, file: None, number: None };
            if self.entries.try_send(Entry::Line(line)).is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
    }

    /// Waits until Python has every line that was queued before, for `timeout` at most.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (done, flushed) = mpsc::channel();
        let deadline = Instant::now() + timeout;
        let mut entry = Entry::Flush(done);
        while let Err(TrySendError::Full(rejected)) = self.entries.try_send(entry) {
            if Instant::now() >= deadline {
                return;
            }
            entry = rejected;
            thread::sleep(RETRY_INTERVAL);
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// Flushes the queue, which accepts no further lines.
    pub(crate) fn close(&self, timeout: Duration) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.flush(timeout);
    }
}

/// The bridge to `logging`. The package's logger is silent where the program has configured no handler, as the logging
/// HOWTO of Python demands of libraries.
fn python_logger(py: Python<'_>) -> PyResult<Logger> {
    let logging = py.import("logging")?;
    let root = logging.call_method1("getLogger", (ROOT_LOGGER,))?;
    root.call_method1("addHandler", (logging.call_method0("NullHandler")?,))?;
    // Levels may change at any time, so they are not cached.
    Logger::new(py, Caching::Loggers)
}
