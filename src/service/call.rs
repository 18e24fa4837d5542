//! A call: a delivery that is requested inside this process.

use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::mqtt::topic::App;
use crate::telemetry::events::Report;

/// Calls that wait for the service; further callers wait until there is room.
#[doc(alias = "bound")]
pub(super) const MAX_CALLS: usize = 256;

/// A delivery that is requested inside this process.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) caller: Caller,
    /// Cancelled when the caller does not wait any more.
    pub(super) withdrawn: CancellationToken,
}

/// Who waits for a delivery inside this process.
#[derive(Debug)]
pub(super) struct Caller {
    /// Since when.
    pub(super) begun: Instant,
    pub(super) reply: oneshot::Sender<Result<Report, Error>>,
}

impl Caller {
    /// The report of a delivery as this caller saw it: what was done before the call is excluded.
    pub(super) fn own(&self, report: &Report) -> Report {
        let elapsed = self.begun.elapsed();
        let sending = report.sending.min(elapsed);
        Report { sending, fetching: elapsed.saturating_sub(sending), ..report.clone() }
    }
}
