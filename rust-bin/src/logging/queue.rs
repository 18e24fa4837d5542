//! Lines on their way to standard error, written by a thread of their own: whoever logs never waits for the reader.
//!
//! What does not fit is dropped, counted, and told in the log when lines flow again.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use propeller_proxy::util::metrics;
use propeller_proxy::util::sync::lock;
use tracing::error;

/// Lines that wait to be written on standard error, bytes; further ones are dropped.
#[doc(alias = "bound")]
const MAX_WAITING: usize = 1 << 20;
/// How long a message, or the end of the process, waits for the reader of standard error.
#[doc(alias = "bound")]
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The name of the thread that writes.
const WRITER: &str = "log";

static STDERR: Queue = Queue::new();

/// Lines that wait for their writer.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting {
    /// Whole lines.
    text: Vec<u8>,
    /// Whether a line was dropped since lines were taken last. The next ones are, too, so that there is one gap.
    is_full: bool,
    /// Lines that were dropped and not told yet.
    dropped: u64,
    /// Whether lines that were taken are being written.
    is_writing: bool,
    has_writer: bool,
}

/// The queue before standard error, with its writer.
///
/// # Errors
/// What the system says if there can be no thread.
pub(super) fn open() -> io::Result<&'static Queue> {
    let mut waiting = lock(&STDERR.waiting);
    if !waiting.has_writer {
        thread::Builder::new().name(WRITER.into()).spawn(|| STDERR.serve(io::stderr()))?;
        waiting.has_writer = true;
    }
    Ok(&STDERR)
}

/// Prints a message behind the lines that wait, and waits a moment until it is written.
pub(crate) fn print(message: &str) {
    if lock(&STDERR.waiting).has_writer {
        STDERR.push(format!("{message}\n").as_bytes(), true);
        flush();
    } else {
        // A closed one is no error.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

/// Waits until every line is written, as long as a reader may take.
pub(crate) fn flush() {
    STDERR.flush(FLUSH_TIMEOUT);
}

impl Queue {
    const fn new() -> Self {
        let waiting = Waiting { text: Vec::new(), is_full: false, dropped: 0, is_writing: false, has_writer: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Queues lines, unless there is no room and they are not `needed`. The writer's own, which tell of a gap, are always taken.
    fn push(&self, lines: &[u8], needed: bool) {
        let mut waiting = lock(&self.waiting);
        let has_room = !waiting.is_full && waiting.text.len() + lines.len() <= MAX_WAITING;
        if has_room || needed || thread::current().name() == Some(WRITER) {
            waiting.text.extend_from_slice(lines);
            self.changed.notify_all();
        } else {
            waiting.is_full = true;
            waiting.dropped += 1;
            drop(waiting);
            metrics::dropped_log_lines(1);
        }
    }

    /// Writes what comes.
    fn serve(&self, mut out: impl Write) {
        loop {
            let (text, dropped) = self.take();
            let lost: u64 =
                text.split_inclusive(|byte| *byte == b'\n').map(|line| u64::from(out.write_all(line).is_err())).sum();
            if lost > 0 {
                metrics::dropped_log_lines(lost);
            } else if dropped > 0 {
                error!(
                    event = "log-lines-dropped",
                    lines = dropped,
                    "lines of the log were dropped: standard error was not read, or could not be written"
                );
            }
            let mut waiting = lock(&self.waiting);
            waiting.dropped += if lost > 0 { dropped + lost } else { 0 };
            waiting.is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines, and takes them; and how many were dropped that nobody has told.
    fn take(&self) -> (Vec<u8>, u64) {
        let waiting = lock(&self.waiting);
        let waiting = self.changed.wait_while(waiting, |waiting| waiting.text.is_empty());
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        (waiting.is_full, waiting.is_writing) = (false, true);
        (mem::take(&mut waiting.text), mem::take(&mut waiting.dropped))
    }

    fn flush(&self, timeout: Duration) {
        let is_open = |waiting: &mut Waiting| waiting.is_writing || !waiting.text.is_empty();
        // It does not matter here whether the time was enough.
        drop(self.changed.wait_timeout_while(lock(&self.waiting), timeout, is_open));
    }
}

impl Write for &Queue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines, false);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use tracing::subscriber::with_default;

    use super::*;

    /// Each write waits until somebody reads it.
    struct Slow(SyncSender<String>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(line).into_owned();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn served() -> (&'static Queue, Receiver<String>) {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        let (out, lines) = mpsc::sync_channel(0);
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || queue).finish();
        let serve = move || with_default(log, || queue.serve(Slow(out)));
        thread::Builder::new().name(WRITER.into()).spawn(serve).unwrap();
        (queue, lines)
    }

    #[test]
    fn nobody_waits_for_the_reader_and_what_is_dropped_is_counted_and_told() {
        const COUNT: usize = 3000;
        let (queue, lines) = served();
        queue.push(b"first\n", false);
        while !lock(&queue.waiting).is_writing {
            thread::yield_now();
        }
        for number in 0..COUNT {
            queue.push(format!("{number:1023}\n").as_bytes(), false);
        }
        queue.flush(Duration::ZERO);
        let kept = MAX_WAITING / 1024;
        let dropped = COUNT - kept;
        assert_eq!(lock(&queue.waiting).dropped, dropped as u64);
        assert_eq!(lines.recv().unwrap(), "first\n");
        for number in 0..kept {
            assert_eq!(lines.recv().unwrap(), format!("{number:1023}\n"));
        }
        let told = lines.recv().unwrap();
        assert!(told.contains(r#"event="log-lines-dropped""#) && told.contains(&format!(" lines={dropped}")), "{told}");
        queue.push(b"later\n", false);
        assert_eq!(lines.recv().unwrap(), "later\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (queue, lines) = served();
        drop(lines);
        queue.push(b"one\ntwo\n", false);
        queue.flush(Duration::from_secs(60));
        assert_eq!(lock(&queue.waiting).dropped, 2);
    }
}
