//! The time within which a pull or push has to end.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::oci::reference::Reference;

/// When an operation is cancelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    limit: Duration,
}

impl Deadline {
    /// In `limit` from now.
    pub(super) fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// Runs `work`, and drops it at the deadline; `what` names it in the error.
    pub(super) async fn enforce<T>(
        self,
        reference: &Reference,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout_at(self.at, work).await.unwrap_or_else(|_| {
            let detail = format!("{what} it took longer than {} s (PROXY_FETCH_TIMEOUT)", self.limit.as_secs_f64());
            Err(Error::RegistryUnreachable { object: reference.to_string(), detail })
        })
    }
}
