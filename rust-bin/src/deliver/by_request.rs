//! Delivery by the proxies that are online: requests are published as by a device, and followed on the status topic. So the
//! proxy schedules them with its other transfers, and remembers them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::BrokerOptions;
use propeller_proxy::mqtt::request::Request;
use propeller_proxy::mqtt::status::{DeliveryState, Status};
use propeller_proxy::mqtt::topic::{Channel, Layout, Role};
use propeller_proxy::mqtt::{Connection, ConnectionOptions, Message};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::options::{LOOK_INTERVAL, Options};
use super::outcome::{Delivered, Outcome};
use crate::failure::Failure;
use crate::progress;

/// How long a proxy may take to report that it has a request. A proxy whose link needs longer than this for one chunk
/// counts as away.
#[doc(alias = "bound")]
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time without a status message after the first one. Proxies publish one for each second in which chunks went out,
/// but none while they resolve and fetch a module, which may take as long as they are configured for, 5 min by default.
#[doc(alias = "bound")]
const STATUS_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long an outcome may be that of an earlier transfer, after which the proxy reports that it has queued the
/// request.
#[doc(alias = "bound")]
const OUTCOME_DELAY: Duration = Duration::from_millis(500);
/// Status messages that wait to be read.
#[doc(alias = "bound")]
const QUEUE: usize = 4096;

/// A request for one module, and what the proxies report of it.
struct Tracked {
    app_name: String,
    request: Bytes,
    bar: ProgressBar,
    requested_at: Instant,
    /// When the latest status message came.
    reported_at: Option<Instant>,
    /// Whether a request opened a transfer after ours was sent: it is ours, or ours has joined it.
    is_queued: bool,
    fetching_since: Option<Instant>,
    sending_since: Option<Instant>,
    sent_chunks: u64,
    total_chunks: u64,
    /// How it ended, and the time from which that counts.
    outcome: Option<(Instant, Outcome)>,
}

/// Requests every module at once, and follows all of them to their ends.
pub(super) async fn deliver_all(
    mqtt: &BrokerOptions,
    channel: &Channel,
    options: &Options,
) -> Result<Vec<Outcome>, Failure> {
    let bars = progress::bars(options.verbosity);
    let tracked = |name: &String| Tracked::new(name, progress::of_chunks(&bars, name));
    // One request is enough for what is named twice.
    let names: HashSet<_> = options.references.iter().cloned().collect();
    let mut all: Vec<_> = names.iter().map(tracked).collect();

    let layout = Layout::from(options.layout);
    let (sender, mut statuses) = mpsc::channel(QUEUE);
    let listening = ConnectionOptions {
        queue: 2 * all.len(),
        ..ConnectionOptions::new("proxy-deliver", vec![channel.topic(layout, Role::Status)])
    };
    let mut link = Connection::establish(mqtt, listening, move |Message { payload, .. }: Message<'_>| {
        if let Ok(status) = serde_json::from_slice::<Status>(&payload)
            && names.contains(&status.app_name)
            && let Err(TrySendError::Full(_)) = sender.try_send(status)
        {
            tracing::warn!("a status message was dropped: too many wait to be read");
        }
    })
    .await?;
    let request_topic = channel.topic(layout, Role::Request);
    let (publisher, mut health) = (link.publisher(), link.health());
    health.mark_changed();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    while !all.iter().all(Tracked::is_done) {
        tokio::select! {
            end = link.ended() => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
            // Status messages that were published while the link was down are lost, so whatever is open is requested anew.
            Ok(()) = health.changed() => if health.borrow_and_update().is_up {
                for tracked in all.iter_mut().filter(|tracked| !tracked.is_done()) {
                    tracked.requested_at = Instant::now();
                    if !publisher.try_publish(&request_topic, tracked.request.clone(), false) {
                        tracing::warn!(app_name = tracked.app_name, "the request was not published: the queue to the broker is full");
                    }
                }
            },
            Some(status) = statuses.recv() => {
                all.iter_mut().filter(|tracked| tracked.app_name == status.app_name).for_each(|tracked| tracked.update(&status));
            }
            _ = look.tick() => all.iter_mut().for_each(Tracked::check_timeouts),
        }
    }
    link.close().await;
    let outcome = |name: &String| {
        let outcome = all.iter().find(|tracked| tracked.app_name == *name).and_then(|tracked| tracked.outcome.clone());
        outcome.map_or_else(|| Err(Error::Stopping { app_name: name.clone() }), |(_, outcome)| outcome)
    };
    Ok(options.references.iter().map(outcome).collect())
}

impl Tracked {
    fn new(app_name: &str, bar: ProgressBar) -> Self {
        let request = Bytes::from(json!({ "app_name": app_name }).to_string());
        let now = Instant::now();
        let outcome = Request::parse(&request).err().map(|error| (now, Err(error)));
        Self {
            app_name: app_name.to_owned(),
            request,
            bar,
            requested_at: now,
            reported_at: None,
            is_queued: false,
            fetching_since: None,
            sending_since: None,
            sent_chunks: 0,
            total_chunks: 0,
            outcome,
        }
    }

    fn is_done(&self) -> bool {
        self.outcome.as_ref().is_some_and(|(time, _)| *time <= Instant::now())
    }

    fn update(&mut self, status: &Status) {
        if self.is_done() {
            return;
        }
        let now = Instant::now();
        self.reported_at = Some(now);
        if let Some(total_chunks) = status.total_chunks {
            (self.sent_chunks, self.total_chunks) = (status.sent_chunks, total_chunks);
            progress::note(&self.bar, status.sent_chunks.min(total_chunks), total_chunks);
        }
        match status.state {
            // What ended before was another transfer.
            DeliveryState::Queued => {
                (self.is_queued, self.fetching_since, self.sending_since, self.outcome) = (true, None, None, None);
            }
            DeliveryState::Fetching => self.fetching_since = self.fetching_since.or(Some(now)),
            DeliveryState::Sending => self.sending_since = self.sending_since.or(Some(now)),
            DeliveryState::Sent => {
                self.outcome = self.delivered(status, now).map(|delivered| (self.counts_from(now), Ok(delivered)));
            }
            // Replicas say this to each other; it is no outcome.
            DeliveryState::Objected => {}
            DeliveryState::Failed => {
                // A request that was withdrawn was in the transfer alone.
                let failure = status.failure().filter(|failure| failure.code() != "withdrawn");
                self.outcome = failure.map(|failure| (self.counts_from(now), Err(failure)));
            }
        }
    }

    fn counts_from(&self, now: Instant) -> Instant {
        if self.is_queued { now } else { now + OUTCOME_DELAY }
    }

    fn delivered(&self, status: &Status, now: Instant) -> Option<Delivered> {
        let fetching = self.fetching_since.zip(self.sending_since).map(|(fetching, sending)| sending - fetching);
        Some(Delivered {
            digest: status.digest?,
            size: status.size?,
            chunks: status.total_chunks?,
            sent_bytes: None,
            fetching,
            sending: self.sending_since.map(|sending| now - sending),
        })
    }

    fn check_timeouts(&mut self) {
        let Self { sent_chunks: chunks, total_chunks, .. } = *self;
        let app_name = self.app_name.clone();
        let error = match self.reported_at {
            _ if self.outcome.is_some() => return,
            None if self.requested_at.elapsed() >= ANSWER_TIMEOUT => {
                Error::Unanswered { app_name, waited: ANSWER_TIMEOUT }
            }
            Some(reported_at) if reported_at.elapsed() >= STATUS_TIMEOUT => {
                Error::Timeout { app_name, waited: STATUS_TIMEOUT, chunks, total_chunks }
            }
            _ => return,
        };
        self.outcome = Some((Instant::now(), Err(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str) -> Status {
        let status = json!({
            "app_name": "a", "state": state, "digest": format!("sha256:{:064}", 0), "size": 5, "total_chunks": 3, "sent_chunks": 3,
            "error": { "code": "not-wasm", "message": "no" }, "instance": "i", "time": "now",
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn the_end_of_an_earlier_transfer_is_not_taken_for_ours() {
        for end in ["sent", "failed"] {
            let mut tracked = Tracked::new("a", ProgressBar::hidden());
            tracked.update(&status(end));
            assert!(tracked.outcome.is_some() && !tracked.is_done(), "{end} may be that of an earlier one");
            tracked.update(&status("queued"));
            assert!(tracked.outcome.is_none(), "it was, since ours has opened another one");
            tracked.update(&status("sending"));
            tracked.update(&status(end));
            assert!(tracked.is_done());
        }
    }
}
