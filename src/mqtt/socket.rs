//! The socket below MQTT (TCP, TLS, WebSocket), and the options of the MQTT library.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::client::TlsStream;
use rumqttc::{AckMode, Broker, LastWill, MqttOptions, NetworkOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use secrecy::ExposeSecret;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tracing::warn;

use super::address::BrokerAddress;
use super::cutter::Cutter;
use super::options::{BrokerOptions, ConnectionOptions, Session, TlsOptions, qos};
use crate::error::Error;

/// Messages in flight to the broker. Mosquitto 2.0 loses QoS 2 messages beyond 20.
#[doc(alias = "bound")]
pub const MAX_IN_FLIGHT_MESSAGES: u16 = 20;
/// How long written bytes may stay unacknowledged by TCP before the connection fails (`TCP_USER_TIMEOUT`, RFC 5482). A
/// large message may take much longer, as long as some of its bytes are acknowledged.
#[doc(alias = "bound")]
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// How long a connection may be idle before TCP probes the peer (keep-alive, RFC 1122, section 4.2.3.6).
#[doc(alias = "bound")]
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// The interval of the TCP probes.
#[doc(alias = "bound")]
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// TCP probes without an acknowledgement after which a connection fails.
#[doc(alias = "bound")]
const PROBES: u32 = 3;
/// Largest packet in a WebSocket, bytes: the library refuses a larger frame before the packet in it can be cut.
#[doc(alias = "bound")]
const MAX_WEB_SOCKET_PACKET: usize = 16 << 20;
/// The library's limit on a write, seconds: in effect none. TCP, and the other connection, detect a broker that is
/// gone.
const NO_LIMIT: u64 = 86_400;

pub(super) fn mqtt_options(mqtt: &BrokerOptions, options: &ConnectionOptions) -> Result<MqttOptions, Error> {
    let BrokerAddress { host, port, tls, path } = &mqtt.address;
    let broker = if path.is_some() {
        // The transport adds TLS; the library accepts no wss:// here.
        let address = BrokerAddress { tls: false, ..mqtt.address.clone() };
        Broker::websocket(address.to_string()).map_err(|error| setup(&error))?
    } else {
        Broker::tcp(host.clone(), *port)
    };
    let mut mqtt_options = MqttOptions::new(options.client_id.clone(), broker);
    mqtt_options
        .set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX))
        .set_clean_session(options.session == Session::Clean)
        .set_inflight(MAX_IN_FLIGHT_MESSAGES)
        .set_ack_mode(if options.has_manual_acks { AckMode::Manual } else { AckMode::Automatic });
    if let Some(will) = &options.will {
        mqtt_options.set_last_will(LastWill::new(will.topic.clone(), will.payload.clone(), qos(1), true));
    }
    if let Some(login) = &mqtt.login {
        mqtt_options.set_credentials(login.username.clone(), login.password.expose_secret().to_owned());
    }
    let (limit, max_outgoing) = (options.max_incoming, options.max_outgoing);
    let tls = tls.then(|| tls_config(&mqtt.tls)).transpose()?;
    if path.is_some() {
        let wss = |config| Transport::wss_with_config(TlsConfiguration::Rustls(config));
        mqtt_options
            .set_max_packet_size(limit.max(MAX_WEB_SOCKET_PACKET), max_outgoing)
            .set_socket_connector(connect)
            .set_transport(tls.map_or_else(Transport::ws, wss));
    } else {
        // TLS is below what cuts packets, so it is not the library's.
        let name = |config: Arc<ClientConfig>| Ok((TlsConnector::from(config), ServerName::try_from(host.clone())?));
        let tls = tls.map(name).transpose().map_err(|error: InvalidDnsNameError| setup(&error))?;
        mqtt_options
            .set_max_packet_size(limit, max_outgoing)
            .set_socket_connector(move |host, options| connect_and_cut(host, options, tls.clone(), limit))
            .set_transport(Transport::tcp());
    }
    Ok(mqtt_options)
}

fn tls_config(tls: &TlsOptions) -> Result<Arc<ClientConfig>, Error> {
    let identity = tls.client_identity.as_ref();
    let config = if tls.skip_verify {
        crate::tls::unchecked_client_config(identity)?
    } else {
        crate::tls::client_config(crate::tls::roots(&tls.ca_certificates)?, &[], identity)?
    };
    Ok(Arc::new(config))
}

/// Warns where the TLS settings have no effect, or no security.
pub(super) fn warn_of_tls(BrokerOptions { address, tls, .. }: &BrokerOptions) {
    if !address.tls && (!tls.ca_certificates.is_empty() || tls.client_identity.is_some() || tls.skip_verify) {
        warn!(event = "tls-settings-unused", broker = %address, "the settings PROXY_MQTT_TLS_… are without effect: the address asks for no TLS (mqtts:// or wss://)");
    } else if tls.skip_verify {
        warn!(
            event = "tls-unverified",
            broker = %address,
            "INSECURE: PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY is set, and whoever is between this proxy and the broker can read and change \
             everything, the modules among it"
        );
    }
}

/// The options while connecting: `timeout` bounds it.
pub(super) fn connecting(timeout: Duration) -> NetworkOptions {
    with_timeout(timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0)))
}

/// The options once connected: how long a write takes depends on its size and the bandwidth.
pub(super) fn connected() -> NetworkOptions {
    with_timeout(NO_LIMIT)
}

fn with_timeout(seconds: u64) -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(seconds).set_tcp_nodelay(true);
    network
}

async fn connect(host: String, options: NetworkOptions) -> io::Result<TcpStream> {
    let stream = rumqttc::default_socket_connect(host, options).await?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(STALL_LIMIT))?;
    Ok(stream)
}

async fn connect_and_cut(
    host: String,
    options: NetworkOptions,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: usize,
) -> io::Result<Cutter<Either<TcpStream, TlsStream<TcpStream>>>> {
    let stream = connect(host, options).await?;
    let stream = match tls {
        Some((connector, name)) => Either::Right(connector.connect(name, stream).await?),
        None => Either::Left(stream),
    };
    Ok(Cutter::new(stream, limit))
}

/// A client that cannot be set up.
pub(super) fn setup(error: &impl ToString) -> Error {
    Error::Setup { object: "MQTT client".into(), detail: error.to_string() }
}
