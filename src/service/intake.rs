//! What comes in: the links to the broker, and what their messages are.
//!
//! There are two links, so that requests and chunks do not stand in each other's way. The one for requests has a session
//! that the broker keeps while the proxy is away, unless replicas are there meanwhile; the one for chunks has a clean one,
//! since what was not acknowledged is published again anyway. A replica has a third one, by which it hears what everybody
//! hears. A service that takes no requests has none to subscribe to: its link for requests is for what it tells.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::Service;
use super::admission::log;
use super::presence::Presences;
use crate::delivery::MAX_IN_FLIGHT_MESSAGES;
use crate::error::Error;
use crate::mqtt::chunk;
use crate::mqtt::request::{MAX_REQUEST_SIZE, Request};
use crate::mqtt::status::{Presence, Status};
use crate::mqtt::topic::{App, Channel, Layout, Role};
use crate::mqtt::{Ack, Backoff, Connection, ConnectionOptions, Message, Session, Subscription};
use crate::util::metrics;

/// Messages that may wait between the links and the service.
const ARRIVALS: usize = 4096;
/// Messages of our own that may wait for the broker beside the chunks: acknowledgements and status messages.
const POSTS: usize = 4096;
/// Largest packet that devices may send us, bytes: more than the brokers that have a limit let through.
const MAX_INCOMING_PACKET: usize = 4 << 20;
/// Bytes around the payload of a packet: topic and header.
const PACKET_OVERHEAD: usize = 64 << 10;
/// How often the link for requests asks whether the broker is there.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// The same for chunks, whose link must not be taken for dead while it is slow: the other one finds out.
const CHUNKS_KEEP_ALIVE: Duration = Duration::from_secs(600);

/// Something that arrived.
pub(super) enum Arrival {
    /// A request, for this proxy to serve.
    Request { app: App, is_queued: bool, ack: Ack },
    /// A request as all replicas hear it.
    Witnessed(App),
    /// A status message.
    Status(App, Box<Status>),
    /// A presence message.
    Presence { instance: String, is_online: bool, is_retained: bool },
}

/// The links, and what arrives over them.
pub(super) struct Intake {
    pub(super) requests: Connection,
    pub(super) chunks: Connection,
    pub(super) group: Option<Connection>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

impl Intake {
    pub(super) fn open(service: &Arc<Service>, presences: &Presences) -> Result<Self, Error> {
        let Service { config, instance, group, .. } = &**service;
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        let subscribe = |filter, is_required| Subscription { filter, qos: 1, is_required };
        let filters = |role| config.channels.filters(role).into_iter();
        let asked = filters(Role::Request).map(|filter| match &config.share_group {
            // Shared subscriptions are of MQTT 5 (section 4.8.2); brokers have them for MQTT 3.1.1 as well.
            Some(share) => subscribe(format!("$share/{share}/{filter}"), true),
            None => subscribe(filter, true),
        });
        let present = filters(Role::Presence("+")).map(|filter| subscribe(filter, false));
        let has_presence = config.channels.named().next().is_some();
        let stalled = Arc::default();
        let clean = |client_id: String| ConnectionOptions {
            client_id,
            session: Session::Clean,
            subscriptions: Vec::new(),
            will: None,
            qos: 1,
            has_manual_acks: false,
            keep_alive: KEEP_ALIVE,
            stalled: Arc::clone(&stalled),
            backoff: Backoff::EAGER,
            queue: MAX_IN_FLIGHT_MESSAGES.into(),
            max_in_flight: MAX_IN_FLIGHT_MESSAGES,
            max_incoming: MAX_INCOMING_PACKET,
            max_outgoing: 2 * PACKET_OVERHEAD,
            is_logged: false,
        };
        let mut subscriptions: Vec<_> = asked.chain(present.filter(|_| has_presence)).collect();
        if !service.takes_requests {
            subscriptions.clear();
        }
        let is_kept = group.is_none() && service.takes_requests;
        let requests = ConnectionOptions {
            session: if is_kept { Session::Persistent } else { Session::Clean },
            subscriptions,
            will: presences.will(Layout::Messages),
            has_manual_acks: true,
            queue: POSTS,
            is_logged: true,
            ..clean(instance.clone())
        };
        let chunks = ConnectionOptions {
            will: presences.will(Layout::Plain),
            qos: config.mqtt.qos,
            keep_alive: CHUNKS_KEEP_ALIVE,
            max_outgoing: chunk::max_message_size(config.delivery.chunk_size.get()) + PACKET_OVERHEAD,
            ..clean(format!("{instance}-chunks"))
        };
        let heard = filters(Role::Request).chain(filters(Role::Status)).map(|filter| subscribe(filter, true));
        let overheard = ConnectionOptions { subscriptions: heard.collect(), ..clean(format!("{instance}-group")) };
        let (listener, witness, arrived_too) = (Arc::clone(service), Arc::clone(service), arrived.clone());
        let overhear =
            |_| Connection::open(&config.mqtt, overheard, move |message| witness.overhear(&message, &arrived_too));
        Ok(Self {
            group: group.as_ref().map(overhear).transpose()?,
            requests: Connection::open(&config.mqtt, requests, move |message| listener.receive(message, &arrived))?,
            chunks: Connection::open(&config.mqtt, chunks, |_| ())?,
            arrivals,
        })
    }
}

impl Service {
    /// Takes a message from the link for requests.
    fn receive(&self, message: Message<'_>, arrived: &mpsc::Sender<Arrival>) {
        let Message { topic, payload, is_retained, is_queued, ack } = message;
        let Some((channel, layout, role)) = Channel::of_topic(topic) else {
            return ack.acknowledge();
        };
        match role {
            // A retained message is what somebody asked at some time, not a request now.
            Role::Request if !is_retained && self.config.channels.contains(&channel) => {
                match Request::parse(&payload) {
                    Ok(Request { app_name }) => {
                        let app = App { channel: channel.into(), layout, name: app_name.as_str().into() };
                        let request = Arrival::Request { app: app.clone(), is_queued, ack };
                        if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) =
                            arrived.try_send(request)
                        {
                            // The broker waits for no more than some.
                            if let Arrival::Request { ack, .. } = request {
                                ack.acknowledge();
                            }
                            let error = Error::Overloaded { app_name, limit: ARRIVALS, what: "messages wait" };
                            self.turn_away(&app, &error);
                        }
                    }
                    Err(error) => {
                        ack.acknowledge();
                        metrics::requests(error.code()).increment(1);
                        self.reporter.tell_unreadable(&channel, layout, &error);
                        log(&error, &channel.id);
                    }
                }
            }
            Role::Presence(instance) => {
                ack.acknowledge();
                if let Ok(Presence { online, .. }) = serde_json::from_slice(&payload) {
                    let instance = instance.to_owned();
                    // One that does not fit is made up for by the silence of the replica.
                    let _ = arrived.try_send(Arrival::Presence { instance, is_online: online, is_retained });
                }
            }
            _ => ack.acknowledge(),
        }
    }

    /// Takes a message that all replicas hear.
    fn overhear(&self, message: &Message<'_>, arrived: &mpsc::Sender<Arrival>) {
        let Some((channel, layout, role)) = Channel::of_topic(message.topic) else { return };
        if message.is_retained || !self.config.channels.contains(&channel) {
            return;
        }
        let app = |name: &str| App { channel: Arc::new(channel.clone()), layout, name: name.into() };
        let arrival = match role {
            Role::Request => {
                Request::parse(&message.payload).ok().map(|request| Arrival::Witnessed(app(&request.app_name)))
            }
            Role::Status => status(&message.payload).map(|status| Arrival::Status(app(&status.app_name), status)),
            _ => None,
        };
        if let Some(arrival) = arrival
            && arrived.try_send(arrival).is_err()
        {
            warn!("more arrives than can be read: what other replicas do may be missed");
        }
    }
}

/// Reads a status message, unless it is larger than one that a proxy can send.
fn status(payload: &Bytes) -> Option<Box<Status>> {
    let status = (payload.len() <= PACKET_OVERHEAD).then(|| serde_json::from_slice::<Box<Status>>(payload).ok())?;
    status.filter(|status| status.app_name.len() <= MAX_REQUEST_SIZE)
}
