//! The inbox: reads messages of the broker, and queues them for the service.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::presences::Presences;
use super::shares::Shares;
use crate::error::Error;
use crate::mqtt::request::Request;
use crate::mqtt::status::{Presence, Status};
use crate::mqtt::topic::{App, Channel, Channels, Layout, Role};
use crate::mqtt::{Ack, Message};
use crate::service::options::ServiceOptions;
use crate::telemetry::Telemetry;
use crate::util::fair::Portions;
use crate::util::sync::lock;

/// Requests that wait between the connections and the service.
#[doc(alias = "bound")]
const MAX_REQUESTS: usize = 4096;
/// Messages of other proxies that do.
#[doc(alias = "bound")]
const MAX_OTHERS: usize = 4096;
/// Largest status or presence message that is parsed, bytes. A proxy publishes about half as much at most: a name, and an
/// error that repeats it.
#[doc(alias = "bound")]
const MAX_STATUS_SIZE: usize = 4 << 10;

/// A message from the broker.
pub(super) enum Inbound {
    /// A request; `is_queued` if the broker may have queued it while the proxy was away.
    Request { app: App, is_queued: bool, ack: Ack, _room: Room },
    /// A status message, for a replica.
    Status(App, Box<Status>),
    /// A presence message.
    Presence { instance: String, presence: Presence, is_retained: bool },
}

/// What a request takes of the queue, until it is dropped.
pub(super) struct Room(Arc<Mutex<Portions<Arc<Channel>>>>, Arc<Channel>);

impl Drop for Room {
    fn drop(&mut self) {
        lock(&self.0).give_back(&self.1, 1);
    }
}

/// Reads messages, and queues them for the service.
pub(super) struct Inbox {
    channels: Channels,
    telemetry: Arc<Telemetry>,
    presences: Arc<Presences>,
    group: Option<String>,
    shares: Shares,
    /// The requests in the queue, by channel.
    requests: Arc<Mutex<Portions<Arc<Channel>>>>,
    has_missed: Arc<AtomicBool>,
    inbound: mpsc::Sender<Inbound>,
}

impl Inbox {
    /// An inbox, and what is queued in it.
    pub(super) fn new(
        config: &ServiceOptions,
        telemetry: &Arc<Telemetry>,
        presences: &Arc<Presences>,
    ) -> (Self, mpsc::Receiver<Inbound>) {
        let (inbound, messages) = mpsc::channel(MAX_REQUESTS + MAX_OTHERS);
        let inbox = Self {
            channels: config.channels.clone(),
            telemetry: Arc::clone(telemetry),
            presences: Arc::clone(presences),
            group: config.share_group.clone(),
            shares: Shares::new(telemetry.instance(), Instant::now()),
            requests: Arc::new(Mutex::new(Portions::new(MAX_REQUESTS))),
            has_missed: Arc::default(),
            inbound,
        };
        (inbox, messages)
    }

    /// Whether messages of other replicas were not read. Whoever asks clears it.
    pub(super) fn has_missed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_missed)
    }

    /// Takes a message.
    pub(super) fn receive(&mut self, message: Message<'_>) {
        let Message { topic, payload, is_retained, is_queued, ack } = message;
        let Some((channel, layout, role)) = Channel::of_topic(topic) else { return ack.acknowledge() };
        if !matches!(role, Role::Presence(_)) && !self.channels.contains(&channel) {
            return ack.acknowledge();
        }
        match role {
            // A retained message is what somebody requested at some time, not a request now.
            Role::Request if !is_retained => self.request(channel, layout, &payload, is_queued, ack),
            Role::Status if !is_retained && self.group.is_some() => {
                ack.acknowledge();
                if !self.permit_parsing() {
                    return;
                }
                let Some(status) = parse::<Box<Status>>(&payload) else { return };
                let channel = channel.into();
                if self.shares.permit(&channel, &status.instance, Instant::now()) {
                    let app = App { channel, layout, name: status.app_name.as_str().into() };
                    self.queue(Inbound::Status(app, status));
                } else {
                    self.has_missed.store(true, Relaxed);
                }
            }
            Role::Presence(instance) => {
                ack.acknowledge();
                if !self.permit_parsing() {
                    return;
                }
                let presence = parse::<Presence>(&payload);
                self.presences.receive(topic, presence.as_ref(), is_retained || is_queued);
                if let Some(presence) = presence {
                    if presence.online && presence.group == self.group {
                        self.shares.enter(instance);
                    }
                    self.queue(Inbound::Presence { instance: instance.to_owned(), presence, is_retained });
                }
            }
            _ => ack.acknowledge(),
        }
    }

    fn request(&self, channel: Channel, layout: Layout, payload: &[u8], is_queued: bool, ack: Ack) {
        let app_name = match Request::parse(payload) {
            Ok(Request { app_name }) => app_name,
            Err(error) => {
                ack.acknowledge();
                return self.telemetry.unreadable(&channel, layout, &error);
            }
        };
        let channel = Arc::new(channel);
        let app = App { channel: Arc::clone(&channel), layout, name: app_name.as_str().into() };
        if lock(&self.requests).take(&channel) {
            let room = Room(Arc::clone(&self.requests), channel);
            // There is room for it; unless the service ends, and then the broker sends it to the next process.
            let _ = self.inbound.try_send(Inbound::Request { app, is_queued, ack, _room: room });
        } else {
            // The broker stops sending when too many are not acknowledged.
            ack.acknowledge();
            let error = Error::Overloaded { app_name, limit: MAX_REQUESTS, what: "requests wait to be read" };
            self.telemetry.rejected(&app, false, &error);
        }
    }

    /// Whether one more message of a proxy is read. It is missed if there are too many.
    fn permit_parsing(&mut self) -> bool {
        let is_permitted = self.shares.permit_parsing(Instant::now());
        self.has_missed.fetch_or(!is_permitted, Relaxed);
        is_permitted
    }

    /// Queues what others say, beside the requests. What does not fit is missed.
    fn queue(&self, message: Inbound) {
        if self.inbound.capacity() <= MAX_REQUESTS || self.inbound.try_send(message).is_err() {
            self.has_missed.store(true, Relaxed);
        }
    }
}

/// Parses a message of a proxy, unless it is larger than one can be.
fn parse<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    if payload.len() > MAX_STATUS_SIZE { None } else { serde_json::from_slice(payload).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::status::{DeliveryState, Failure};
    use crate::oci::digest::Digest;
    use crate::oci::reference::MAX_REFERENCE_SIZE;
    use crate::util::clock::Time;
    use crate::util::json;

    #[test]
    fn the_largest_status_message_of_a_proxy_is_parsed() {
        let app_name = "a".repeat(MAX_REFERENCE_SIZE);
        let status = Status {
            state: DeliveryState::Objected,
            digest: Some(Digest::of(b"")),
            size: Some(u64::MAX),
            chunk_size: Some(u32::MAX),
            total_chunks: Some(u64::MAX),
            sent_chunks: u64::MAX,
            error: Some(Failure { code: "registry-unreachable".into(), message: app_name.repeat(2) }),
            instance: "i".repeat(256),
            time: Time::of_system().to_string(),
            app_name,
        };
        assert!((MAX_STATUS_SIZE / 2..MAX_STATUS_SIZE).contains(&json(&status).len()), "{}", json(&status).len());
    }
}
