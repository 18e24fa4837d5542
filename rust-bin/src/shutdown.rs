//! SIGTERM and SIGINT as a value that is passed down.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::exit;
use crate::failure::Failure;

/// How long a command may take to release what it holds. Then the process ends, whatever still blocks.
#[doc(alias = "bound")]
const GRACE: Duration = Duration::from_millis(900);

/// A token that is cancelled by the first SIGTERM or SIGINT.
///
/// # Errors
/// What the system says if signals cannot be caught.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        let name = if signals.recv().await == exit::TERMINATED { "SIGTERM" } else { "SIGINT" };
        info!(signal = name, "signal received");
        cancelled.cancel();
    });
    Ok(stop)
}

/// Runs a command, which gets a token that is cancelled by the first SIGTERM or SIGINT; then it has less than a second to
/// end. Returns the exit status, and prints the reason of a failure.
pub(crate) async fn interruptible<F>(command: impl FnOnce(CancellationToken) -> F) -> u8
where
    F: Future<Output = Result<u8, Failure>> + Send + 'static,
{
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return Failure::of_system("signals cannot be caught", &error).report(exit::FAILURE),
    };
    let stop = CancellationToken::new();
    // A task of its own, so that signals are seen while it blocks.
    let mut task = tokio::spawn(command(stop.clone()));
    let (ended, signal) = tokio::select! {
        ended = &mut task => (ended, exit::FAILURE),
        signal = signals.recv() => {
            stop.cancel();
            match tokio::time::timeout(GRACE, task).await {
                Ok(ended) => (ended, signal),
                Err(_) => return signal,
            }
        }
    };
    match ended {
        Ok(Ok(status)) => status,
        Ok(Err(failure)) => failure.report(signal),
        // It panicked, which is logged.
        Err(_) => exit::FAILURE,
    }
}

/// Does some work, or drops it when `stop` is cancelled.
pub(crate) fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> impl Future<Output = Result<T, Failure>> {
    let work = stop.run_until_cancelled(Box::pin(work));
    async { work.await.unwrap_or(Err(Failure::Stopped)) }
}

/// The signals that end us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one, and returns the exit status that belongs to it.
    async fn recv(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => exit::TERMINATED,
            _ = self.interrupt.recv() => exit::INTERRUPTED,
        }
    }
}
