//! The connections to the broker: what arrives by them, and that the proxy is online.
//!
//! There are two, so that requests and chunks do not delay each other. The one for requests has a persistent session, in
//! which the broker queues requests while the proxy is away; for a replica it also has the status messages of the others,
//! in the order in which all replicas receive them. The one for chunks has a clean session, since what was not
//! acknowledged is published again anyway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tracing::warn;

use crate::error::Error;
use crate::mqtt::chunk;
use crate::mqtt::request::{MAX_REQUEST_SIZE, Request};
use crate::mqtt::status::{Presence, Status};
use crate::mqtt::topic::{App, Channel, Channels, Layout, Role};
use crate::mqtt::{
    Ack, Connection, ConnectionOptions, Health, MAX_IN_FLIGHT_MESSAGES, Message, Publisher, Session, Subscription, Will,
};
use crate::service::options::ServiceOptions;
use crate::telemetry::Telemetry;
use crate::util::clock::Time;

/// Messages that wait between the connections and the service.
#[doc(alias = "bound")]
const MAX_INBOUND: usize = 4096;
/// Messages beside the chunks that wait for the broker: acknowledgements and status messages.
#[doc(alias = "bound")]
const MAX_OUTBOUND: usize = 4096;
/// Largest part of a packet around the payload, and largest status message that is parsed, bytes.
#[doc(alias = "bound")]
const PACKET_OVERHEAD: usize = 64 << 10;
/// How often the connection for chunks pings the broker. It must not be taken for dead while it is slow: the other one
/// finds out.
const CHUNKS_KEEP_ALIVE: Duration = Duration::from_secs(600);

/// A message from the broker.
pub(super) enum Inbound {
    /// A request; `is_queued` if the broker may have queued it while the proxy was away.
    Request { app: App, is_queued: bool, ack: Ack },
    /// A status message, for a replica.
    Status(App, Box<Status>),
    /// A presence message.
    Presence { instance: String, presence: Presence, is_retained: bool },
}

/// The connections to the broker.
pub(super) struct Connections {
    requests: Connection,
    chunks: Connection,
    requests_health: watch::Receiver<Health>,
    chunks_health: watch::Receiver<Health>,
    presences: Presences,
}

/// What became of a connection.
pub(super) enum Change {
    /// The connection for requests came up or went down.
    Requests(Health),
    /// The connection for chunks did.
    Chunks(Health),
    /// One has ended, which before [`Connections::close`] is a failure.
    Ended(Result<(), Error>),
}

impl Connections {
    /// Starts connecting; what arrives goes to the receiver.
    pub(super) fn open(
        config: &ServiceOptions,
        telemetry: &Arc<Telemetry>,
    ) -> Result<(Self, mpsc::Receiver<Inbound>), Error> {
        let (inbound, messages) = mpsc::channel(MAX_INBOUND);
        let channels = config.channels.clone();
        let instance = telemetry.instance();
        let presences = Presences::new(&channels, instance, config.share_group.clone());
        let requests = requests(config, instance, &presences);
        let chunks = chunks(config, instance, &presences, &requests);
        let inbox =
            Inbox { channels, is_replica: config.share_group.is_some(), telemetry: Arc::clone(telemetry), inbound };
        let requests = Connection::open(&config.mqtt, requests, move |message| inbox.receive(message))?;
        let chunks = Connection::open(&config.mqtt, chunks, |_| ())?;
        let (requests_health, chunks_health) = (requests.health(), chunks.health());
        Ok((Self { requests, chunks, requests_health, chunks_health, presences }, messages))
    }

    /// What publishes beside the chunks.
    pub(super) fn publisher(&self) -> Publisher {
        self.requests.publisher()
    }

    /// What publishes chunks.
    pub(super) fn chunk_publisher(&self) -> Publisher {
        self.chunks.publisher()
    }

    /// Publishes on all named channels whether the proxy is online.
    pub(super) fn announce(&self, is_online: bool) {
        let publisher = self.publisher();
        for topic in &self.presences.topics {
            // If there is no room, so much waits for the broker that this message does not matter.
            publisher.try_publish(topic, self.presences.message(is_online), true);
        }
    }

    /// Whether the proxy is subscribed to its requests.
    pub(super) fn is_up(&self) -> bool {
        self.requests_health.borrow().is_up
    }

    /// How the connections are, now and on each change.
    pub(super) fn health(&self) -> [watch::Receiver<Health>; 2] {
        [self.requests.health(), self.chunks.health()]
    }

    /// Waits until something became of a connection.
    pub(super) async fn changed(&mut self) -> Change {
        tokio::select! {
            Ok(()) = self.requests_health.changed() => Change::Requests(*self.requests_health.borrow_and_update()),
            Ok(()) = self.chunks_health.changed() => Change::Chunks(*self.chunks_health.borrow_and_update()),
            end = self.requests.ended() => Change::Ended(end),
            end = self.chunks.ended() => Change::Ended(end),
        }
    }

    /// Disconnects after what is in flight.
    pub(super) async fn close(self) {
        tokio::join!(self.requests.close(), self.chunks.close());
    }
}

/// The connection for requests.
fn requests(config: &ServiceOptions, instance: &str, presences: &Presences) -> ConnectionOptions {
    let filters = |role| config.channels.filters(role);
    let mut required = filters(Role::Request);
    if config.share_group.is_some() {
        required.extend(filters(Role::Status));
    }
    let mut options = ConnectionOptions {
        client_id: instance.to_owned(),
        session: Session::Persistent,
        will: presences.will(Layout::Messages),
        has_manual_acks: true,
        queue: MAX_OUTBOUND,
        max_outgoing: 2 * PACKET_OVERHEAD,
        is_logged: true,
        ..ConnectionOptions::new(instance, required)
    };
    if config.channels.named().next().is_some() {
        let subscribe = |filter| Subscription { filter, qos: 1, is_required: false };
        options.subscriptions.extend(filters(Role::Presence("+")).into_iter().map(subscribe));
    }
    options
}

/// The connection for chunks, beside that for `requests`.
fn chunks(
    config: &ServiceOptions,
    instance: &str,
    presences: &Presences,
    requests: &ConnectionOptions,
) -> ConnectionOptions {
    ConnectionOptions {
        client_id: format!("{instance}-chunks"),
        will: presences.will(Layout::Plain),
        qos: config.mqtt.qos,
        keep_alive: CHUNKS_KEEP_ALIVE,
        stalled: Arc::clone(&requests.stalled),
        queue: MAX_IN_FLIGHT_MESSAGES.into(),
        max_outgoing: chunk::max_message_size(config.delivery.chunk_size.get()) + PACKET_OVERHEAD,
        ..ConnectionOptions::new(instance, Vec::new())
    }
}

/// That the proxy is online: a retained message on every named channel, and a will.
struct Presences {
    /// The topics, those of the first channel in front.
    topics: Vec<String>,
    since: Time,
    group: Option<String>,
}

impl Presences {
    fn new(channels: &Channels, instance: &str, group: Option<String>) -> Self {
        let topics = channels
            .named()
            .flat_map(|channel| Layout::ALL.map(|layout| channel.topic(layout, Role::Presence(instance))));
        Self { topics: topics.collect(), since: Time::of_system(), group }
    }

    /// A connection has one will (MQTT 3.1.1, section 3.1.2.5), so each connection has that of one layout of the first
    /// channel.
    fn will(&self, layout: Layout) -> Option<Will> {
        let index = Layout::ALL.iter().position(|one| *one == layout)?;
        let topic = self.topics.get(index)?.clone();
        Some(Will { topic, payload: self.message(false) })
    }

    fn message(&self, is_online: bool) -> Bytes {
        Presence::message(is_online, self.since, self.group.clone()).into()
    }
}

/// Reads messages, and queues them for the service.
struct Inbox {
    channels: Channels,
    is_replica: bool,
    telemetry: Arc<Telemetry>,
    inbound: mpsc::Sender<Inbound>,
}

impl Inbox {
    fn receive(&self, message: Message<'_>) {
        let Message { topic, payload, is_retained, is_queued, ack } = message;
        let Some((channel, layout, role)) = Channel::of_topic(topic) else { return ack.acknowledge() };
        if !matches!(role, Role::Presence(_)) && !self.channels.contains(&channel) {
            return ack.acknowledge();
        }
        match role {
            // A retained message is what somebody requested at some time, not a request now.
            Role::Request if !is_retained => self.request(channel, layout, &payload, is_queued, ack),
            Role::Status if !is_retained && self.is_replica => {
                ack.acknowledge();
                if let Some(status) = status(&payload) {
                    let app = App { channel: channel.into(), layout, name: status.app_name.as_str().into() };
                    self.queue(Inbound::Status(app, status));
                }
            }
            Role::Presence(instance) => {
                ack.acknowledge();
                if let Ok(presence) = serde_json::from_slice(&payload) {
                    self.queue(Inbound::Presence { instance: instance.to_owned(), presence, is_retained });
                }
            }
            _ => ack.acknowledge(),
        }
    }

    fn request(&self, channel: Channel, layout: Layout, payload: &[u8], is_queued: bool, ack: Ack) {
        match Request::parse(payload) {
            Ok(Request { app_name }) => {
                let app = App { channel: channel.into(), layout, name: app_name.as_str().into() };
                let request = Inbound::Request { app, is_queued, ack };
                if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) = self.inbound.try_send(request)
                    && let Inbound::Request { app, ack, .. } = request
                {
                    // The broker stops sending when too many are not acknowledged.
                    ack.acknowledge();
                    self.telemetry.rejected(
                        &app,
                        false,
                        &Error::Overloaded { app_name, limit: MAX_INBOUND, what: "messages wait" },
                    );
                }
            }
            Err(error) => {
                ack.acknowledge();
                self.telemetry.unreadable(&channel, layout, &error);
            }
        }
    }

    /// Queues what others say. What does not fit is made up for: by the next message, or by silence.
    fn queue(&self, message: Inbound) {
        if self.inbound.try_send(message).is_err() {
            warn!("more messages arrive than are read: messages of other proxies were dropped");
        }
    }
}

/// Reads a status message, unless it is larger than one that a proxy can publish.
fn status(payload: &Bytes) -> Option<Box<Status>> {
    let status = (payload.len() <= PACKET_OVERHEAD).then(|| serde_json::from_slice::<Box<Status>>(payload).ok())?;
    status.filter(|status| status.app_name.len() <= MAX_REQUEST_SIZE)
}
