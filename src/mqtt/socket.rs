//! The connection below a link: TCP, TLS and the MQTT library's options.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AckMode, Broker, LastWill, MqttOptions, NetworkOptions, TlsConfiguration, Transport};
use secrecy::ExposeSecret;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::warn;

use super::connection::setup;
use super::options::qos;
use super::{BrokerAddress, BrokerOptions, ConnectionOptions, Session, TlsOptions};

use crate::error::Error;

/// How long what was written may stay without a sign that it came through, before the connection is given up. A message
/// may take much longer, if bytes of it go on coming through.
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// How long a connection may be idle before the system asks whether the other end is there.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// How often it asks, and how many answers may be missing.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// No flush takes longer, seconds: it is the system, and the other link, that notice a broker that is gone.
const NO_LIMIT: u64 = 86_400;

pub(super) fn mqtt_options(mqtt: &BrokerOptions, options: &ConnectionOptions) -> Result<MqttOptions, Error> {
    let BrokerAddress { host, port, tls, path } = &mqtt.address;
    let broker = if path.is_some() {
        // The transport says whether there is TLS below; the library takes no wss:// here.
        let address = BrokerAddress { tls: false, ..mqtt.address.clone() };
        Broker::websocket(address.to_string()).map_err(|error| setup(&error))?
    } else {
        Broker::tcp(host.clone(), *port)
    };
    let mut mqtt_options = MqttOptions::new(options.client_id.clone(), broker);
    mqtt_options
        .set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX))
        .set_clean_session(options.session == Session::Clean)
        .set_inflight(options.max_in_flight)
        .set_max_packet_size(options.max_incoming, options.max_outgoing)
        .set_ack_mode(if options.by_receipt { AckMode::Manual } else { AckMode::Automatic })
        .set_socket_connector(connect);
    if let Some(will) = &options.will {
        mqtt_options.set_last_will(LastWill::new(will.topic.clone(), will.payload.clone(), qos(1), true));
    }
    if let Some(login) = &mqtt.login {
        mqtt_options.set_credentials(login.username.clone(), login.password.expose_secret().to_owned());
    }
    mqtt_options.set_transport(match (tls.then(|| tls_configuration(&mqtt.tls)).transpose()?, path) {
        (None, None) => Transport::tcp(),
        (Some(tls), None) => Transport::tls_with_config(tls),
        (None, Some(_)) => Transport::ws(),
        (Some(tls), Some(_)) => Transport::wss_with_config(tls),
    });
    Ok(mqtt_options)
}

fn tls_configuration(tls: &TlsOptions) -> Result<TlsConfiguration, Error> {
    let identity = tls.client_identity.as_ref();
    let config = if tls.skip_verify {
        crate::tls::unchecked_client_config(identity)?
    } else {
        crate::tls::client_config(crate::tls::roots(&tls.ca_certificates)?, &[], identity)?
    };
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

/// Says in the log where the settings of TLS are not what they seem.
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

/// Options while there is no connection: making one has to be done within `timeout`.
pub(super) fn connecting(timeout: Duration) -> NetworkOptions {
    with_timeout(timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0)))
}

/// Options of a connection: how long a write takes depends on how much it is, and on the link.
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
