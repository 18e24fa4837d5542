//! A transfer as the service carries it out: its span, its work under way, its module, its figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tracing::{Span, debug_span, field};

use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::{Candidate, Version};
use crate::delivery::sender::Outgoing;
use crate::mqtt::topic::App;
use crate::oci::blob::Blob;
use crate::telemetry::events::Report;
use crate::util::clock::Time;
use crate::util::fair::Permit;

/// The shortest interval of two progress messages of a transfer.
#[doc(alias = "bound")]
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A transfer that is being carried out. Dropped, its work under way ends.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) app: App,
    pub(super) purpose: Purpose,
    /// The span of the delivery, below which each step has one. At the level of `debug`, so that it is no part of an
    /// ordinary log.
    pub(super) span: Span,
    /// The span of the step that it is at.
    pub(super) step_span: Span,
    /// What is done for it on another task.
    pub(super) work: Option<AbortHandle>,
    pub(super) module: Option<Fetched>,
    pub(super) sending: Option<Sending>,
    begun: Instant,
}

/// A module on disk, and a place among those that are open.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) blob: Blob,
    pub(super) candidate: Candidate,
    /// Held until the delivery ends.
    pub(super) _place: Permit,
}

/// A module that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) chunks: Arc<Outgoing>,
    pub(super) version: Version,
    since: Instant,
    pub(super) acknowledged: u64,
    acknowledged_bytes: u64,
    published_at: Time,
}

impl Delivery {
    pub(super) fn new(app: App, purpose: Purpose) -> Self {
        let span = debug_span!(
            parent: None,
            "delivery",
            app_name = &*app.name,
            channel_id = &*app.channel.id,
            purpose = purpose.name(),
            digest = field::Empty,
            size = field::Empty,
            total_chunks = field::Empty,
            requests = field::Empty,
            outcome = field::Empty,
            error.code = field::Empty,
            otel.status_code = field::Empty,
        );
        let (step_span, begun) = (Span::none(), Instant::now());
        Self { app, purpose, span, step_span, work: None, module: None, sending: None, begun }
    }

    /// Its module is sent from now on.
    pub(super) fn begin_sending(&mut self, version: Version, now: Time) {
        let Some(module) = &self.module else { return };
        let chunks = Arc::new(Outgoing::new(&self.app, module.blob.clone(), version.plan));
        self.step_span = debug_span!(parent: &self.span, "send");
        self.sending = Some(Sending {
            chunks,
            version,
            since: Instant::now(),
            acknowledged: 0,
            acknowledged_bytes: 0,
            published_at: now,
        });
    }

    /// Its figures, after it has served so many requests.
    pub(super) fn report(&self, requests: u64) -> Option<Report> {
        let Sending { version, since, acknowledged, acknowledged_bytes, .. } = self.sending.as_ref()?;
        Some(Report {
            digest: version.digest,
            plan: version.plan,
            requests,
            sent_chunks: *acknowledged,
            sent_bytes: *acknowledged_bytes,
            fetching: *since - self.begun,
            sending: since.elapsed(),
        })
    }
}

impl Sending {
    /// The broker acknowledged a message of so many bytes. Whether the progress is to be published.
    pub(super) fn acknowledge(&mut self, size: usize, now: Time) -> bool {
        self.acknowledged += 1;
        self.acknowledged_bytes += size as u64;
        let is_due = now.since(self.published_at) >= PROGRESS_INTERVAL;
        if is_due {
            self.published_at = now;
        }
        is_due
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}
