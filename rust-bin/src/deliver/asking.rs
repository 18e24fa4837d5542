//! Asking the proxies that are online, as devices do: then they know what else they send, and what they sent.

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

use super::{Delivered, LOOK_INTERVAL, Options, Outcome};
use crate::exit::Failure;
use crate::progress;

/// How long a proxy may take to tell that it has a request. One whose link is so slow that it is not through with a chunk by
/// then is beyond what can be told from silence.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence after that. Proxies tell of each second in which chunks went out, but say nothing while they find and
/// fetch a module, which may take what they are configured for, 5 min by default.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long the end of a transfer may be that of an earlier one, after which the proxy tells that it took the request.
const DOUBT: Duration = Duration::from_millis(500);
/// Status messages that may wait to be looked at.
const QUEUE: usize = 4096;

/// What is heard of one module that was asked for.
struct Followed {
    app_name: String,
    request: Bytes,
    bar: ProgressBar,
    asked: Instant,
    /// When something was told of it last.
    heard: Option<Instant>,
    /// Whether a request opened a transfer after ours was sent: it is ours, or ours has joined it.
    is_queued: bool,
    fetching: Option<Instant>,
    sending: Option<Instant>,
    /// Of how many chunks how many were sent.
    chunks: (u64, u64),
    /// How it ended, which counts from then on.
    end: Option<(Instant, Outcome)>,
}

/// Asks for everything at once, and follows it to its end.
pub(super) async fn deliver_all(
    mqtt: &BrokerOptions,
    channel: &Channel,
    options: &Options,
) -> Result<Vec<Outcome>, Failure> {
    let bars = progress::bars(options.verbosity);
    let followed = |name: &String| Followed::new(name, progress::of_chunks(&bars, name));
    // One request is enough for what is named twice.
    let names: HashSet<_> = options.references.iter().cloned().collect();
    let mut all: Vec<_> = names.iter().map(followed).collect();

    let layout = Layout::from(options.layout);
    let (heard, mut statuses) = mpsc::channel(QUEUE);
    let listening = ConnectionOptions {
        queue: 2 * all.len(),
        ..ConnectionOptions::subscriber("proxy-deliver", vec![channel.topic(layout, Role::Status)])
    };
    let mut link = Connection::establish(mqtt, listening, move |Message { payload, .. }: Message<'_>| {
        if let Ok(status) = serde_json::from_slice::<Status>(&payload)
            && names.contains(&status.app_name)
            && let Err(TrySendError::Full(_)) = heard.try_send(status)
        {
            tracing::warn!("more is told than can be read: something was left out");
        }
    })
    .await?;
    let request_topic = channel.topic(layout, Role::Request);
    let (publisher, mut health) = (link.publisher(), link.health());
    health.mark_changed();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    while !all.iter().all(Followed::is_over) {
        tokio::select! {
            end = link.ended() => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
            // What was told while the link was down was not heard, so whatever is open is asked for anew.
            Ok(()) = health.changed() => if health.borrow_and_update().is_up {
                for followed in all.iter_mut().filter(|followed| !followed.is_over()) {
                    followed.asked = Instant::now();
                    if !publisher.try_publish(&request_topic, followed.request.clone(), false) {
                        tracing::warn!(app_name = followed.app_name, "not asked for: too much waits for the broker");
                    }
                }
            },
            Some(status) = statuses.recv() => {
                all.iter_mut().filter(|followed| followed.app_name == status.app_name).for_each(|followed| followed.hear(&status));
            }
            _ = look.tick() => all.iter_mut().for_each(Followed::lose_patience),
        }
    }
    link.close().await;
    let outcome = |name: &String| {
        let end = all.iter().find(|followed| followed.app_name == *name).and_then(|followed| followed.end.clone());
        end.map_or_else(|| Err(Error::Stopping { app_name: name.clone() }), |(_, outcome)| outcome)
    };
    Ok(options.references.iter().map(outcome).collect())
}

impl Followed {
    fn new(app_name: &str, bar: ProgressBar) -> Self {
        let request = Bytes::from(json!({ "app_name": app_name }).to_string());
        let now = Instant::now();
        let end = Request::parse(&request).err().map(|error| (now, Err(error)));
        Self {
            app_name: app_name.to_owned(),
            request,
            bar,
            asked: now,
            heard: None,
            is_queued: false,
            fetching: None,
            sending: None,
            chunks: (0, 0),
            end,
        }
    }

    fn is_over(&self) -> bool {
        self.end.as_ref().is_some_and(|(time, _)| *time <= Instant::now())
    }

    fn hear(&mut self, status: &Status) {
        if self.is_over() {
            return;
        }
        let now = Instant::now();
        self.heard = Some(now);
        if let Some(total_chunks) = status.total_chunks {
            self.chunks = (status.sent_chunks, total_chunks);
            progress::note(&self.bar, status.sent_chunks.min(total_chunks), total_chunks);
        }
        match status.state {
            // What ended before was another one.
            DeliveryState::Queued => {
                (self.is_queued, self.fetching, self.sending, self.end) = (true, None, None, None);
            }
            DeliveryState::Fetching => self.fetching = self.fetching.or(Some(now)),
            DeliveryState::Sending => self.sending = self.sending.or(Some(now)),
            DeliveryState::Sent => {
                self.end = self.delivered(status, now).map(|delivered| (self.counts_from(now), Ok(delivered)));
            }
            DeliveryState::Failed => {
                // What somebody has withdrawn was nobody else's.
                let failure = status.failure().filter(|failure| failure.code() != "withdrawn");
                self.end = failure.map(|failure| (self.counts_from(now), Err(failure)));
            }
        }
    }

    fn counts_from(&self, now: Instant) -> Instant {
        if self.is_queued { now } else { now + DOUBT }
    }

    fn delivered(&self, status: &Status, now: Instant) -> Option<Delivered> {
        Some(Delivered {
            digest: status.digest?,
            size: status.size?,
            chunks: status.total_chunks?,
            sent_bytes: None,
            fetching: self.fetching.zip(self.sending).map(|(fetching, sending)| sending - fetching),
            sending: self.sending.map(|sending| now - sending),
        })
    }

    fn lose_patience(&mut self) {
        let (app_name, (chunks, total_chunks)) = (self.app_name.clone(), self.chunks);
        let error = match self.heard {
            _ if self.end.is_some() => return,
            None if self.asked.elapsed() >= ANSWER_TIMEOUT => Error::Unanswered { app_name, waited: ANSWER_TIMEOUT },
            Some(heard) if heard.elapsed() >= SILENCE_LIMIT => {
                Error::Timeout { app_name, waited: SILENCE_LIMIT, chunks, total_chunks }
            }
            _ => return,
        };
        self.end = Some((Instant::now(), Err(error)));
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
            let mut followed = Followed::new("a", ProgressBar::hidden());
            followed.hear(&status(end));
            assert!(followed.end.is_some() && !followed.is_over(), "{end} may be that of an earlier one");
            followed.hear(&status("queued"));
            assert!(followed.end.is_none(), "it was, since ours has opened another one");
            followed.hear(&status("sending"));
            followed.hear(&status(end));
            assert!(followed.is_over());
        }
    }
}
