//! How the delivery of one module ended.

use std::time::Duration;

use propeller_proxy::error::Error;
use propeller_proxy::oci::digest::Digest;
use propeller_proxy::telemetry::events::Report;

/// A module that was delivered, as far as that is known.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) chunks: u64,
    pub(super) sent_bytes: Option<u64>,
    pub(super) fetching: Option<Duration>,
    pub(super) sending: Option<Duration>,
}

/// How the delivery of one module ended.
pub(super) type Outcome = Result<Delivered, Error>;

impl From<Report> for Delivered {
    fn from(Report { digest, plan, sent_bytes, fetching, sending, .. }: Report) -> Self {
        Self {
            digest,
            size: plan.size(),
            chunks: plan.total_chunks(),
            sent_bytes: Some(sent_bytes),
            fetching: Some(fetching),
            sending: Some(sending),
        }
    }
}
