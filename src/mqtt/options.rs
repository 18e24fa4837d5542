//! How to reach the broker, and what a connection to it is for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use tokio::sync::Notify;
use uuid::Uuid;

use super::address::BrokerAddress;
use super::backoff::Backoff;
use crate::tls::ClientIdentity;

/// How often a connection pings the broker, if not for a special purpose.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Largest packet of a connection, if not for a special purpose, bytes. Brokers that have a limit let through less.
#[doc(alias = "bound")]
const MAX_PACKET: usize = 4 << 20;

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Its address.
    pub address: BrokerAddress,
    /// How long connecting may take.
    pub timeout: Duration,
    /// The quality of service of chunks: 0, 1 or 2.
    pub qos: u8,
    /// User name and password (the client id and key of the deployment); none for a broker that permits anonymous
    /// clients.
    pub login: Option<Login>,
    /// TLS, where the scheme of the address has it.
    pub tls: TlsOptions,
}

/// The TLS of connections to the broker.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Certificate authorities that are trusted beside the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// Whether every certificate of the broker is accepted.
    pub skip_verify: bool,
}

/// An MQTT user name and password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// What a connection is for.
#[derive(Debug)]
pub struct ConnectionOptions {
    /// MQTT client identifier.
    pub client_id: String,
    /// Whether the session outlives the connection.
    pub session: Session,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// What the broker publishes when the connection is lost.
    pub will: Option<Will>,
    /// The quality of service of [`Publisher::publish`](super::Publisher::publish).
    pub qos: u8,
    /// Whether each message is acknowledged by its [`Ack`](super::Ack); else the library does so on arrival.
    pub has_manual_acks: bool,
    /// The longest time between two packets to the broker (MQTT 3.1.1, section 3.1.2.10).
    pub keep_alive: Duration,
    /// Notifies all connections to one broker when one of them finds it stalled. A connection with frequent pings
    /// detects that itself; one whose pings would queue behind large writes relies on the others.
    pub stalled: Arc<Notify>,
    /// The waits before it reconnects.
    pub backoff: Backoff,
    /// Messages that may be queued.
    pub queue: usize,
    /// Largest packet that is received, bytes. The payload of a larger message is cut; in a WebSocket it is let through up to
    /// 16 MiB.
    pub max_incoming: usize,
    /// Largest packet that is sent, bytes.
    pub max_outgoing: usize,
    /// Whether the log says, at level info, when it is up.
    pub is_logged: bool,
}

impl ConnectionOptions {
    /// A connection that subscribes to `filters`, if there are any, and is nothing special. Its client identifier is
    /// unique and begins with `name`, and its session is clean, so that it affects no other client.
    #[must_use]
    pub fn new(name: &str, filters: Vec<String>) -> Self {
        let subscribe = |filter| Subscription { filter, qos: 1, is_required: true };
        Self {
            client_id: format!("{name}-{}", Uuid::new_v4()),
            session: Session::Clean,
            subscriptions: filters.into_iter().map(subscribe).collect(),
            will: None,
            qos: 1,
            has_manual_acks: false,
            keep_alive: KEEP_ALIVE,
            stalled: Arc::default(),
            backoff: Backoff::EAGER,
            queue: 1,
            max_incoming: MAX_PACKET,
            max_outgoing: MAX_PACKET,
            is_logged: false,
        }
    }
}

/// An MQTT session (MQTT 3.1.1, section 3.1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// A clean session: it ends with the connection.
    Clean,
    /// A persistent session: while the connection is down, the broker queues messages in it.
    Persistent,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its topic filter.
    pub filter: String,
    /// Its maximum quality of service.
    pub qos: u8,
    /// Whether the connection is of no use without it.
    pub is_required: bool,
}

/// A message that the broker publishes, retained and at QoS 1, when the connection is lost (MQTT 3.1.1, section
/// 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
}

/// The library's name of a quality of service.
pub(super) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
