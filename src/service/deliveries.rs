//! The deliveries under way: one task each, and what has to be put right however it ends.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::span::Id;
use tracing::{Instrument, Span, debug_span, field, info, warn};

use super::{Purpose, Service};
use crate::delivery::rules::schedule::{RequestId, TransferId};
use crate::error::Error;
use crate::mqtt::status;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::telemetry::events::Report;
use crate::util::fields::int;
use crate::util::sync::lock;

impl Service {
    /// The span of a delivery, for what becomes of it elsewhere.
    pub(super) fn span_of(&self, delivery: TransferId) -> Option<Id> {
        lock(&self.under_way).get(&delivery)?.span.clone()
    }

    /// Delivers until `halt`, or until nobody wants it any more, and tells how it went.
    async fn carry_out(
        self: Arc<Self>,
        id: TransferId,
        app: App,
        purpose: Purpose,
        withdrawn: CancellationToken,
        halt: CancellationToken,
    ) {
        let mut open = Open { service: &self, app: &app, id, is_done: false };
        let result = tokio::select! {
            result = self.deliver(id, &app, purpose) => result,
            () = halt.cancelled() => Err(Error::Stopping { app_name: app.name.to_string() }),
            () = withdrawn.cancelled() => Err(Error::Withdrawn { app_name: app.name.to_string() }),
        };
        match result {
            Ok(Some(report)) => {
                open.is_done = true;
                Span::current().record("requests", int(report.requests)).record("outcome", purpose.success());
                let Report { digest, plan, requests, sent_chunks, .. } = report;
                let (seconds, size) = ((report.fetching + report.sending).as_secs_f64(), int(plan.size()));
                let (total_chunks, sent) = (int(plan.total_chunks()), int(sent_chunks));
                if purpose == Purpose::Repeat {
                    info!(app_name = &*app.name, %digest, size, total_chunks, sent_chunks = sent, seconds, "repeated");
                } else {
                    self.reporter.tell_progress(&app, status::State::Sent, digest, &plan, sent_chunks);
                    info!(event = "delivered", app_name = &*app.name, %digest, size, total_chunks, sent_chunks = sent, requests = int(requests), seconds, "delivered");
                }
            }
            Ok(None) => {
                let requests = open.give_up();
                let given_way = Error::GivenWay { app_name: app.name.to_string() };
                Span::current().record("requests", int(requests.len())).record("outcome", given_way.code());
                let asks = self.journal.given_up(&requests, &given_way);
                if let Some(group) = &self.group
                    && requests.len() > asks
                {
                    group.give_back(&app, requests.len() - asks, self.clock.now());
                }
                self.state.close_requests(requests);
            }
            Err(error) => {
                // Before the report: who asks after it must not join what has failed, nor does the next process take it
                // up.
                let requests = open.give_up();
                if !matches!(error, Error::Stopping { .. }) {
                    self.state.close_requests(requests.clone());
                }
                Span::current()
                    .record("requests", int(requests.len()))
                    .record("outcome", "failed")
                    .record("error.code", error.code())
                    .record("otel.status_code", "error");
                if purpose == Purpose::Repeat {
                    warn!(app_name = &*app.name, "not repeated: {error}");
                } else {
                    self.refuse(&app, &error);
                }
                self.journal.given_up(&requests, &error);
            }
        }
    }
}

/// The deliveries under way.
pub(super) struct Deliveries<'a> {
    service: &'a Arc<Service>,
    pub(super) tasks: JoinSet<()>,
    pub(super) halt: CancellationToken,
}

impl<'a> Deliveries<'a> {
    pub(super) fn of(service: &'a Arc<Service>) -> Self {
        Self { service, tasks: JoinSet::new(), halt: CancellationToken::new() }
    }

    pub(super) fn begin(&mut self, id: TransferId, app: App, purpose: Purpose) {
        let withdrawn = CancellationToken::new();
        let span = span(&app, purpose);
        let under_way = UnderWay { withdrawn: withdrawn.clone(), span: span.id() };
        lock(&self.service.under_way).insert(id, under_way);
        let delivery = Arc::clone(self.service).carry_out(id, app, purpose, withdrawn, self.halt.clone());
        self.tasks.spawn(delivery.instrument(span));
    }

    pub(super) async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A delivery under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Ends it when nobody wants it any more.
    pub(super) withdrawn: CancellationToken,
    /// Its span, which does not last longer for this.
    span: Option<Id>,
}

/// The span of a delivery, below which each step has one. At the level of `debug`, so that an ordinary log has no part
/// in it.
fn span(app: &App, purpose: Purpose) -> Span {
    debug_span!(
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
    )
}

/// An open transfer, given up when its delivery ends in whatever way but well: nothing may join it then.
struct Open<'a> {
    service: &'a Service,
    app: &'a App,
    id: TransferId,
    is_done: bool,
}

impl Open<'_> {
    fn give_up(&mut self) -> Vec<RequestId> {
        self.is_done = true;
        self.service.courier.abandon(self.id)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.service.under_way).remove(&self.id);
        if !self.is_done {
            let requests = self.give_up();
            self.service.journal.given_up(&requests, &Error::Stopping { app_name: self.app.name.to_string() });
        }
    }
}

/// A version that is being sent, until its last chunk is out.
pub(super) struct Sending<'a> {
    pub(super) service: &'a Service,
    pub(super) app: &'a App,
    pub(super) digest: Digest,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Self { service, app, digest } = self;
        let mut versions = lock(&service.versions);
        versions.end(app, *digest, service.clock.now());
        service.state.note_versions((*app).clone(), versions.of(app).to_vec());
    }
}
