//! The connections to the broker: how they are opened, watched and closed.
//!
//! There are two, so that requests and chunks do not delay each other. The one for requests has a persistent session, in
//! which the broker queues requests while the proxy is away; for a replica it also has the status messages of the others,
//! in the order in which all replicas receive them. The one for chunks has a clean session, since what was not
//! acknowledged is published again anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::warn;

use super::inbox::{Inbound, Inbox};
use super::presences::Presences;
use crate::error::Error;
use crate::mqtt::chunk;
use crate::mqtt::topic::{Layout, Role};
use crate::mqtt::{
    Backoff, BrokerOptions, Connection, ConnectionOptions, Health, MAX_IN_FLIGHT_MESSAGES, Publisher, Session,
    Subscription,
};
use crate::service::options::ServiceOptions;
use crate::state::Restored;
use crate::telemetry::Telemetry;

/// Messages beside the chunks that wait for the broker: acknowledgements and status messages.
#[doc(alias = "bound")]
const MAX_OUTBOUND: usize = 4096;
/// Largest part of a packet around the payload, bytes.
#[doc(alias = "bound")]
const PACKET_OVERHEAD: usize = 64 << 10;
/// How often the connection for chunks pings the broker. It must not be taken for dead while it is slow: the other one
/// finds out.
const CHUNKS_KEEP_ALIVE: Duration = Duration::from_secs(600);
/// How long discarding a session at the end may take.
#[doc(alias = "bound")]
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections to the broker.
pub(super) struct Connections {
    requests: Connection,
    chunks: Connection,
    requests_health: watch::Receiver<Health>,
    chunks_health: watch::Receiver<Health>,
    presences: Arc<Presences>,
    has_missed: Arc<AtomicBool>,
    /// Whether no later process will use this name, so that its presence messages are deleted at the end.
    has_passing_name: bool,
    /// What discards the persistent session at the end, if no later process will know its client identifier.
    discard: Option<(BrokerOptions, ConnectionOptions)>,
}

/// What became of a connection.
pub(super) enum Change {
    /// The connection for requests came up or went down.
    Requests(Health),
    /// The connection for chunks did.
    Chunks(Health),
    /// One has ended, which before [`Connections::leave`] is a failure.
    Ended(Result<(), Error>),
}

impl Connections {
    /// Starts connecting; what arrives goes to the receiver.
    pub(super) fn open(
        config: &ServiceOptions,
        telemetry: &Arc<Telemetry>,
        restored: &Restored,
    ) -> Result<(Self, mpsc::Receiver<Inbound>), Error> {
        let instance = telemetry.instance();
        let client_id = client_id(config, instance, restored);
        let presences = Arc::new(Presences::new(&config.channels, instance, config.share_group.clone()));
        let requests = requests(config, client_id.clone(), &presences);
        let chunks = chunks(config, &client_id, &presences, &requests);
        let has_passing_name = restored.is_temporary && config.instance_id.is_none();
        let is_lasting = !restored.is_temporary || config.has_exact_client_id && !has_passing_name;
        let discard = (!is_lasting).then(|| (config.mqtt.clone(), discarding(client_id)));
        let (mut inbox, messages) = Inbox::new(config, telemetry, &presences);
        let has_missed = inbox.has_missed();
        let requests = Connection::open(&config.mqtt, requests, move |message| inbox.receive(message))?;
        let chunks = Connection::open(&config.mqtt, chunks, |_| ())?;
        let (requests_health, chunks_health) = (requests.health(), chunks.health());
        let connections =
            Self { requests, chunks, requests_health, chunks_health, presences, has_missed, has_passing_name, discard };
        Ok((connections, messages))
    }

    /// What publishes beside the chunks.
    pub(super) fn publisher(&self) -> Publisher {
        self.requests.publisher()
    }

    /// What publishes chunks.
    pub(super) fn chunk_publisher(&self) -> Publisher {
        self.chunks.publisher()
    }

    /// Publishes on all named channels that the proxy is online.
    pub(super) fn announce(&self) {
        self.presences.announce(&self.publisher(), true);
    }

    /// Publishes that again where another client said otherwise. To be called each second, which bounds what that client can
    /// cause.
    pub(super) fn correct(&self) {
        if self.is_up() {
            self.presences.correct(&self.publisher());
        }
    }

    /// Whether messages of other replicas were not read since the last call, as too many came.
    pub(super) fn take_missed(&self) -> bool {
        self.has_missed.swap(false, Relaxed)
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

    /// Publishes that the proxy is offline, and disconnects after what is in flight. What no later process would find
    /// again does not stay at the broker.
    pub(super) async fn leave(self) {
        let is_up = self.is_up();
        self.presences.announce(&self.publisher(), false);
        if self.has_passing_name {
            self.presences.delete(&self.publisher());
        }
        tokio::join!(self.requests.close(), self.chunks.close());
        if let Some((mqtt, options)) = self.discard.filter(|_| is_up) {
            let discard = async {
                match Connection::establish(&mqtt, options, |_| ()).await {
                    Ok(connection) => connection.close().await,
                    Err(error) => warn!(%error, "the session stays at the broker"),
                }
            };
            // A broker that hangs keeps it until it expires.
            let _ = timeout(DISCARD_TIMEOUT, discard).await;
        }
    }
}

/// The client identifier of the connection for requests, with which that for chunks begins. The broker disconnects a
/// client when another one has its identifier (MQTT 3.1.1, section 3.1.4), so it is nothing that others can know.
fn client_id(config: &ServiceOptions, instance: &str, restored: &Restored) -> String {
    if config.has_exact_client_id {
        instance.to_owned()
    } else {
        format!("{instance}-{}", restored.client_secret.expose_secret())
    }
}

/// A connection that discards the session of this client: its own is clean.
fn discarding(client_id: String) -> ConnectionOptions {
    ConnectionOptions { backoff: Backoff::NONE, client_id, ..ConnectionOptions::new("", Vec::new()) }
}

/// The connection for requests.
fn requests(config: &ServiceOptions, client_id: String, presences: &Presences) -> ConnectionOptions {
    let filters = |role| config.channels.filters(role);
    let mut required = filters(Role::Request);
    if config.share_group.is_some() {
        required.extend(filters(Role::Status));
    }
    let mut options = ConnectionOptions {
        client_id,
        session: Session::Persistent,
        will: presences.will(Layout::Messages),
        has_manual_acks: true,
        queue: MAX_OUTBOUND,
        max_incoming: 2 * PACKET_OVERHEAD,
        max_outgoing: 2 * PACKET_OVERHEAD,
        is_logged: true,
        ..ConnectionOptions::new("", required)
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
    client_id: &str,
    presences: &Presences,
    requests: &ConnectionOptions,
) -> ConnectionOptions {
    ConnectionOptions {
        client_id: format!("{client_id}-chunks"),
        will: presences.will(Layout::Plain),
        qos: config.mqtt.qos,
        keep_alive: CHUNKS_KEEP_ALIVE,
        stalled: Arc::clone(&requests.stalled),
        queue: MAX_IN_FLIGHT_MESSAGES.into(),
        max_outgoing: chunk::max_message_size(config.delivery.chunk_size.get()) + PACKET_OVERHEAD,
        ..ConnectionOptions::new("", Vec::new())
    }
}
