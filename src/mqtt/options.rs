//! What a connection is made for, and how the broker is reached.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use tokio::sync::Notify;
use uuid::Uuid;

use super::address::BrokerAddress;
use crate::tls::ClientIdentity;

/// How often the broker hears from a link that only listens.
const LISTENER_KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Messages of such a link on their way at once.
const LISTENER_MAX_IN_FLIGHT: u16 = 20;
/// Largest packet of such a link, bytes.
const LISTENER_MAX_PACKET: usize = 4 << 20;

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Its address.
    pub address: BrokerAddress,
    /// How long connecting may take.
    pub timeout: Duration,
    /// The quality of service of chunks: 0, 1 or 2.
    pub qos: u8,
    /// User name and password (the client id and key of the deployment); none for a broker that admits anybody.
    pub login: Option<Login>,
    /// Whom its certificate is checked with, and what it is shown, where TLS is used.
    pub tls: TlsOptions,
}

/// The TLS of connections to the broker.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Certificate authorities beside the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// Whether any certificate of the broker is taken.
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

/// What a link is made for.
#[derive(Debug)]
pub struct ConnectionOptions {
    /// MQTT client identifier.
    pub client_id: String,
    /// Whether the broker keeps what arrives for it while it is away.
    pub session: Session,
    /// What is subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// What the broker publishes when it loses the link.
    pub will: Option<Will>,
    /// The quality of service of what [`super::Publisher::publish`] publishes.
    pub qos: u8,
    /// Whether messages are acknowledged by their receipts; else they are as they come.
    pub by_receipt: bool,
    /// How often the broker hears from the link at least.
    pub keep_alive: Duration,
    /// Wakes all links to one broker when one of them finds that it hangs. A link that pings often enough finds out;
    /// another one, whose pings would stand in line behind what it writes, is told.
    pub broker_hangs: Arc<Notify>,
    /// When it tries again.
    pub retries: Backoff,
    /// Messages that may be queued.
    pub queue: usize,
    /// Messages on their way to the broker at once.
    pub max_in_flight: u16,
    /// Largest packet that is received, bytes. A larger one ends the connection, and the link makes a new one.
    pub max_incoming: usize,
    /// Largest packet that is sent, bytes.
    pub max_outgoing: usize,
    /// Whether it is mentioned in the log when it is up.
    pub is_talkative: bool,
}

impl ConnectionOptions {
    /// A link that hears what is published on `filters` and nothing else. It disturbs nobody: its identifier, which begins
    /// with `name`, is its own, and the broker keeps nothing for it.
    #[must_use]
    pub fn listening(name: &str, filters: Vec<String>) -> Self {
        let subscribe = |filter| Subscription { filter, qos: 1, is_required: true };
        Self {
            client_id: format!("{name}-{}", Uuid::new_v4()),
            session: Session::Clean,
            subscriptions: filters.into_iter().map(subscribe).collect(),
            will: None,
            qos: 1,
            by_receipt: false,
            keep_alive: LISTENER_KEEP_ALIVE,
            broker_hangs: Arc::default(),
            retries: Backoff::EAGER,
            queue: 1,
            max_in_flight: LISTENER_MAX_IN_FLIGHT,
            max_incoming: LISTENER_MAX_PACKET,
            max_outgoing: LISTENER_MAX_PACKET,
            is_talkative: false,
        }
    }
}

/// An MQTT session (MQTT 3.1.1, section 3.1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It ends with the connection.
    Clean,
    /// The broker keeps it.
    Kept,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its topic filter.
    pub filter: String,
    /// Its maximum quality of service.
    pub qos: u8,
    /// Whether the link is of no use without it.
    pub is_required: bool,
}

/// A message that the broker publishes, retained and at QoS 1, when the link is lost (MQTT 3.1.1, section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
}

/// The waits between attempts to connect: each twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Backoff {
    /// Of one who wants to know whether it works: the first failure ends the link.
    pub const NONE: Self = Self { first: Duration::ZERO, longest: Duration::ZERO };
    /// Of one who must be back before the devices are.
    pub const EAGER: Self = Self { first: Duration::from_millis(10), longest: Duration::from_millis(150) };
    /// Of a device: it tries 1, 3, 7, 15, 31, 63 s after the loss.
    pub const STOCK: Self = Self { first: Duration::from_secs(1), longest: Duration::from_secs(32) };
}

/// The library's name of a quality of service.
pub(super) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
