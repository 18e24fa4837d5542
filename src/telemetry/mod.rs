//! What the proxy says of its work: log, spans, status messages, events and metrics, all from one [`Telemetry`].
//!
//! The pipeline calls it once for each thing that happens, and it fans out from here; so no two of these can disagree. It
//! must never decide anything, and nothing waits for it. Claims, objections and heartbeats of replicas are status messages too.

pub mod events;
mod repeats;
mod status;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::{Span, debug, error, field, info, warn};

use self::events::{Event, Events, Report, Stats, What};
use self::repeats::Repeats;
use self::status::StatusPublisher;
use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::Version;
use crate::error::Error;
use crate::mqtt::Publisher;
use crate::mqtt::status::DeliveryState;
use crate::mqtt::topic::{App, Channel, Layout};
use crate::util::clock::Clock;
use crate::util::int;
use crate::util::metrics::{self, Meters};
use crate::util::sync::lock;

/// The target, in the log, of failures that only callers in this process receive. A program that reports them itself turns
/// it off.
pub const CALLERS: &str = "propeller_proxy::callers";
/// Messages that mosquitto queues for a subscriber by default.
const COMMON_QUEUE: u64 = 1000;

/// Says what happens.
#[derive(Debug)]
pub struct Telemetry {
    status: StatusPublisher,
    events: Events,
    meters: Meters,
    /// The transfers that are sent: how many chunks were acknowledged, and how many there are.
    progress: Mutex<HashMap<App, (u64, u64)>>,
    open_transfers: AtomicUsize,
    repeats: Repeats,
}

/// What waits in the service.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    /// Messages from the broker.
    pub(crate) messages: usize,
    /// Transfers that wait for a place among those that are open.
    pub(crate) modules: usize,
    /// Changes of the state that are not on disk.
    pub(crate) changes: usize,
    /// Requests that are not covered.
    pub(crate) requests: usize,
    /// Apps with open requests.
    pub(crate) transfers: usize,
}

#[expect(clippy::unused_self, reason = "callers report every fact to one value, which has no state for some")]
impl Telemetry {
    pub(crate) fn new(instance: String, clock: Clock) -> Self {
        Self {
            status: StatusPublisher::new(instance, clock),
            events: Events::default(),
            meters: Meters::default(),
            progress: Mutex::default(),
            open_transfers: AtomicUsize::new(0),
            repeats: Repeats::default(),
        }
    }

    /// The id of the proxy.
    pub(crate) fn instance(&self) -> &str {
        self.status.instance()
    }

    /// What happens from now on. A watcher that is [`events::MAX_BACKLOG`] events behind misses the oldest.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.watch()
    }

    /// How often things happened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.events.stats()
    }

    /// How many chunks of `app` were acknowledged so far, those for late requests included, and how many it has; `None` if
    /// it is not being sent.
    #[must_use]
    pub fn progress(&self, app: &App) -> Option<(u64, u64)> {
        lock(&self.progress).get(app).copied()
    }

    /// The number of apps with open requests.
    #[must_use]
    pub fn open_transfers(&self) -> usize {
        self.open_transfers.load(Ordering::Relaxed)
    }

    /// From now on status messages have a connection.
    pub(crate) fn connect(&self, publisher: Publisher) {
        self.status.connect(publisher);
    }

    /// How long ago the last status message was published.
    pub(crate) fn status_silence(&self) -> Duration {
        self.status.silence()
    }

    // The proxy.

    pub(crate) fn connection_changed(&self, is_up: bool) {
        self.note(None, if is_up { What::Connected } else { What::Disconnected });
    }

    pub(crate) fn covering_again(&self, transfers: usize, outage: Duration) {
        info!(event = "coverage-restarted", transfers, outage = outage.as_secs_f64(), "covering recent requests again");
    }

    pub(crate) fn measured(&self, waiting: Waiting) {
        let Waiting { messages, modules, changes, requests, transfers } = waiting;
        let meters = &self.meters;
        for (gauge, count) in [
            (&meters.waiting_arrivals, messages),
            (&meters.waiting_modules, modules),
            (&meters.waiting_changes, changes),
            (&meters.open_requests, requests),
            (&meters.open_transfers, transfers),
        ] {
            metrics::set(gauge, count as u64);
        }
        self.set_open_transfers(transfers);
    }

    /// Logs how many failures were not logged one by one since the last call. Due each minute, and at the end.
    pub(crate) fn tell_repeats(&self) {
        self.status.tell_lost();
        for (code, channel, failures) in self.repeats.take() {
            let channel = channel.as_ref().map(|channel| &*channel.id);
            warn!(event = "failures-not-logged", code, channel, failures, "further failures of this kind were counted");
        }
    }

    pub(crate) fn set_open_transfers(&self, transfers: usize) {
        self.open_transfers.store(transfers, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self, bytes: usize) {
        metrics::set(&self.meters.in_flight_bytes, bytes as u64);
    }

    // Requests. Each is counted once: when it is covered, rejected, failed or withdrawn.

    /// A message on a request topic is not a request.
    pub(crate) fn unreadable(&self, channel: &Channel, layout: Layout, error: &Error) {
        metrics::requests(error.code()).increment(1);
        self.status.publish_unreadable(channel, layout, error);
        self.log(error, None, channel);
    }

    /// A request from the disk of an earlier process is served.
    pub(crate) fn resumed(&self, app: &App, age: Duration) {
        info!(event = "resumed", app_name = &*app.name, age = age.as_secs_f64(), "resumed");
    }

    /// A request is rejected before it has a transfer.
    pub(crate) fn rejected(&self, app: &App, is_callers: bool, error: &Error) {
        metrics::requests(error.code()).increment(1);
        self.fail(app, is_callers, error);
    }

    /// A request opened a transfer, or devices may have missed the module.
    pub(crate) fn opened(&self, app: &App, purpose: Purpose) {
        if purpose == Purpose::Repeat {
            info!(event = "repeating", app_name = &*app.name, "repeating");
            return;
        }
        info!(event = "requested", app_name = &*app.name, channel = &*app.channel.id, "requested");
        self.note(Some(app), What::Requested);
        self.status.publish(app, DeliveryState::Queued, None, 0);
    }

    /// A request joined a transfer.
    pub(crate) fn joined(&self, app: &App, requests: usize, delivery: &Span) {
        let (app_name, channel) = (&*app.name, &*app.channel.id);
        info!(parent: delivery, event = "joined", app_name, channel, requests = int(requests), "joined");
        self.note(Some(app), What::Joined { requests });
    }

    /// The broker acknowledged the first chunk of requests that came so long ago.
    pub(crate) fn first_chunks(&self, waits: impl IntoIterator<Item = Duration>) {
        for wait in waits {
            self.meters.first_chunk.record(wait);
        }
    }

    /// Requests that came so long ago are covered.
    pub(crate) fn covered(&self, waits: impl IntoIterator<Item = Duration>) {
        for wait in waits {
            self.meters.last_chunk.record(wait);
            self.meters.sent_requests.increment(1);
        }
    }

    /// The caller of a request does not wait for it any more.
    pub(crate) fn withdrawn(&self) {
        metrics::requests("withdrawn").increment(1);
    }

    // Transfers, in the order of the pipeline. The span of the delivery is the current one.

    /// The module of a transfer is being fetched.
    pub(crate) fn fetching(&self, app: &App, purpose: Purpose) {
        self.note(Some(app), What::Fetching);
        if purpose != Purpose::Repeat {
            self.status.publish(app, DeliveryState::Fetching, None, 0);
        }
    }

    /// What was being sent when an earlier process ended cannot be fetched any more.
    pub(crate) fn version_gone(&self, app: &App, root: impl std::fmt::Display, error: &Error) {
        warn!(event = "version-gone", app_name = &*app.name, %root, "the interrupted version cannot be fetched any more: {error}");
    }

    /// The module is on disk, with the size and the digest that the registry vouches for.
    pub(crate) fn fetched(&self, app: &App, digest: crate::oci::digest::Digest, size: u64) {
        self.note(Some(app), What::Fetched { digest, size });
    }

    /// A verified module has its plan.
    pub(crate) fn planned(&self, app: &App, version: &Version) {
        let Version { digest, plan, .. } = version;
        let (size, total_chunks) = (int(plan.size()), int(plan.total_chunks()));
        info!(event = "verified", app_name = &*app.name, %digest, size, total_chunks, "verified");
        if plan.total_chunks() > COMMON_QUEUE {
            warn!(
                event = "long-queue",
                app_name = &*app.name,
                total_chunks,
                "more chunks than the queue of {COMMON_QUEUE} messages that many brokers keep for a slow subscriber; \
                 raise PROXY_CHUNK_SIZE, or the broker's limit"
            );
        }
    }

    /// A replica claims an app.
    pub(crate) fn claiming(&self, app: &App, version: &Version) {
        self.status.publish(app, DeliveryState::Fetching, Some(version), 0);
    }

    /// A replica objects to the claim of another one.
    pub(crate) fn objecting(&self, app: &App, version: &Version) {
        self.status.publish(app, DeliveryState::Objected, Some(version), 0);
    }

    /// A replica still serves an app.
    pub(crate) fn heartbeat(&self, app: &App) {
        self.status.publish(app, DeliveryState::Fetching, None, 0);
    }

    /// A replica is there. It waits for the message of this number.
    pub(crate) fn live(&self, nameless: &App, number: u64) {
        self.status.publish(nameless, DeliveryState::Fetching, None, number);
    }

    /// The first chunk of a transfer is about to be published.
    pub(crate) fn sending(&self, app: &App, purpose: Purpose, version: &Version) {
        let Version { digest, plan, .. } = version;
        let span = Span::current();
        span.record("digest", field::display(digest)).record("size", int(plan.size()));
        span.record("total_chunks", int(plan.total_chunks()));
        lock(&self.progress).insert(app.clone(), (0, plan.total_chunks()));
        self.note(Some(app), What::Verified { digest: *digest, plan: *plan });
        if purpose != Purpose::Repeat {
            self.status.publish(app, DeliveryState::Sending, Some(version), 0);
        }
    }

    /// A chunk was handed to the connection.
    pub(crate) fn published(&self, app: &App, index: u64, size: usize) {
        self.note(Some(app), What::Published { index, size });
    }

    /// The broker acknowledged a chunk after `time`; `acknowledged` of the transfer so far.
    pub(crate) fn acknowledged(&self, app: &App, index: u64, size: usize, time: Duration, acknowledged: u64) {
        self.meters.acknowledgement.record(time);
        if let Some((done, _)) = lock(&self.progress).get_mut(app) {
            *done = acknowledged;
        }
        self.note(Some(app), What::Acknowledged { index, size });
    }

    /// So many chunks of a transfer were acknowledged so far; published each second.
    pub(crate) fn progressed(&self, app: &App, version: &Version, acknowledged: u64) {
        let (acknowledged_chunks, total_chunks) = (int(acknowledged), int(version.plan.total_chunks()));
        info!(event = "sending", app_name = &*app.name, acknowledged_chunks, total_chunks, "sending");
        self.status.publish(app, DeliveryState::Sending, Some(version), acknowledged);
    }

    /// Every request of a transfer is covered; or the devices that may have missed the module had their chance.
    pub(crate) fn delivered(&self, app: &App, purpose: Purpose, report: &Report) {
        lock(&self.progress).remove(app);
        let Report { digest, plan, requests, sent_chunks, .. } = report;
        let (seconds, size) = ((report.fetching + report.sending).as_secs_f64(), int(plan.size()));
        let (total_chunks, sent, app_name) = (int(plan.total_chunks()), int(*sent_chunks), &*app.name);
        let outcome = if purpose == Purpose::Repeat { "repeated" } else { "sent" };
        Span::current().record("requests", int(*requests)).record("outcome", outcome);
        if purpose == Purpose::Repeat {
            info!(event = "repeated", app_name, %digest, size, total_chunks, sent_chunks = sent, seconds, "repeated");
            self.note(Some(app), What::Repeated(report.clone()));
            return;
        }
        let version = Version { root: None, digest: *digest, plan: *plan };
        self.status.publish(app, DeliveryState::Sent, Some(&version), *sent_chunks);
        info!(
            event = "delivered",
            app_name,
            %digest,
            size,
            total_chunks,
            sent_chunks = sent,
            requests = int(*requests),
            seconds,
            "delivered"
        );
        self.note(Some(app), What::Sent(report.clone()));
    }

    /// Another replica sends the app; so many callers in this process had requested it.
    pub(crate) fn yielded(&self, app: &App, callers: usize, error: &Error) {
        lock(&self.progress).remove(app);
        debug!(event = "yielded", app_name = &*app.name, "another replica sends it");
        Span::current().record("requests", int(callers)).record("outcome", error.code());
        metrics::requests(error.code()).increment(callers as u64);
    }

    /// A newer transfer took the place of a repeat.
    pub(crate) fn superseded(&self, app: &App) {
        lock(&self.progress).remove(app);
        Span::current().record("requests", 0).record("outcome", "superseded");
    }

    /// A transfer with so many requests fails; so many of them are of callers in this process, who learn of it by themselves.
    pub(crate) fn failed(&self, app: &App, purpose: Purpose, requests: usize, callers: usize, error: &Error) {
        lock(&self.progress).remove(app);
        Span::current()
            .record("requests", int(requests))
            .record("outcome", "failed")
            .record("error.code", error.code())
            .record("otel.status_code", "error");
        metrics::requests(error.code()).increment(requests as u64);
        if purpose == Purpose::Repeat {
            warn!(event = "not-repeated", app_name = &*app.name, code = error.code(), "not repeated: {error}");
        } else {
            self.fail(app, requests > 0 && requests == callers, error);
        }
    }

    fn fail(&self, app: &App, is_callers: bool, error: &Error) {
        self.status.publish_failure(app, error);
        self.note(Some(app), What::Failed(error.clone()));
        if let Error::Withdrawn { .. } = error {
            // Its caller withdrew it on purpose.
            info!(event = "withdrawn", app_name = &*app.name, channel = &*app.channel.id, "withdrawn");
        } else if is_callers {
            let (app_name, channel) = (&*app.name, &*app.channel.id);
            let (code, hint) = (error.code(), error.hint());
            error!(target: CALLERS, event = "failed", code, app_name, channel, hint, "{error}");
        } else {
            self.log(error, Some(&app.name), &app.channel);
        }
    }

    /// Logs a failure with everything that a reader needs, unless the channel had many of the kind.
    fn log(&self, error: &Error, app_name: Option<&str>, channel: &Channel) {
        if !self.repeats.permits(error.code(), channel) {
            return;
        }
        error!(
            event = "failed",
            code = error.code(),
            stage = %error.stage(),
            side = %error.side(),
            retryable = error.retryable(),
            app_name,
            channel = channel.id,
            hint = error.hint(),
            "{error}"
        );
    }

    fn note(&self, app: Option<&App>, what: What) {
        self.events.note(app, what, &self.meters);
    }
}
