//! An MQTT 3.1.1 and 5 broker inside the process, in memory only, on a loopback port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mqtt5::MqttError;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker, PasswordAuthProvider};
use tokio_util::task::AbortOnDropHandle;

use super::port::candidates;

/// Largest packet of the embedded broker, bytes.
#[doc(alias = "bound")]
pub const MAX_PACKET_SIZE: usize = 16 << 20;
/// Messages that the embedded broker queues for one connected client. Beyond it, publishers wait up to 2 s each, and
/// QoS 0 messages are dropped.
#[doc(alias = "bound")]
const MAX_QUEUED_MESSAGES: usize = 4_096;
/// Bytes that the embedded broker queues for one client that is offline or stalled. Beyond it, the oldest messages are
/// dropped.
#[doc(alias = "bound")]
const MAX_QUEUED_BYTES: usize = 256 << 20;
/// Unacknowledged messages of the embedded broker to one client; it holds each of them twice.
#[doc(alias = "bound")]
const MAX_INFLIGHT: u16 = 20;
/// Retained messages of the embedded broker.
#[doc(alias = "bound")]
const MAX_RETAINED_MESSAGES: usize = 1_000;
/// How long a session of the embedded broker outlives its connection.
#[doc(alias = "bound")]
const SESSION_EXPIRY: Duration = Duration::from_secs(300);
/// How often expired sessions are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The clients that may connect.
pub enum Access {
    /// Every client.
    Anonymous,
    /// Clients with one of these user names and its password.
    Users(Vec<(String, String)>),
}

/// A running broker; dropping it stops it and closes its connections.
pub struct Broker {
    port: u16,
    shutdown: BrokerShutdownHandle,
    /// The broker's future stops its tasks when it is dropped.
    task: AbortOnDropHandle<Result<(), MqttError>>,
}

impl Broker {
    /// Starts a broker on a free port of 127.0.0.1 and returns when it accepts connections.
    ///
    /// # Errors
    /// If no port is free, or the system has no randomness for the passwords' salt.
    pub async fn start(access: Access) -> io::Result<Self> {
        Self::start_on(0, access).await
    }

    /// Starts a broker on `port` of 127.0.0.1, as after a restart; it has nothing of an earlier one.
    ///
    /// # Errors
    /// As [`Broker::start`], and if the port is taken.
    pub async fn start_on(port: u16, access: Access) -> io::Result<Self> {
        let mut server = Err(io::ErrorKind::AddrNotAvailable.into());
        for port in candidates(port) {
            server = MqttBroker::with_config(configuration(port)).await.map_err(io::Error::other);
            if server.is_ok() {
                break;
            }
        }
        let mut server = server?;
        if let Access::Users(users) = access {
            let passwords = PasswordAuthProvider::new();
            for (user, password) in users {
                passwords.add_user(user, &password).map_err(io::Error::other)?;
            }
            server = server.with_auth_provider(Arc::new(passwords));
        }
        let port = server.local_addr().ok_or(io::ErrorKind::AddrNotAvailable)?.port();
        let shutdown = server.shutdown_handle();
        let mut ready = server.ready_receiver();
        let task = AbortOnDropHandle::new(tokio::spawn(async move { server.run().await }));
        let broker = Self { port, shutdown, task };
        ready.wait_for(|ready| *ready).await.map_err(|_| io::Error::other("the broker ended before it was ready"))?;
        Ok(broker)
    }

    /// The TCP port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, `tcp://127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Disconnects the clients and returns when they are gone, or after 5 s; the port is free then.
    pub async fn stop(self) {
        self.shutdown.shutdown();
        // It fails only when it starts.
        let _ = self.task.await;
    }
}

fn configuration(port: u16) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_cleanup_interval(SWEEP_INTERVAL)
        .with_max_queued_messages_per_client(MAX_QUEUED_MESSAGES)
        .with_max_queued_bytes_per_client(MAX_QUEUED_BYTES);
    // Anonymous access stays enabled here even for `Access::Users`: without it, the broker requires a password file.
    BrokerConfig::new()
        .with_bind_address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .with_storage(storage)
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_packet_size(MAX_PACKET_SIZE)
        .with_client_channel_capacity(MAX_QUEUED_MESSAGES)
        .with_max_retained_messages(MAX_RETAINED_MESSAGES)
        .with_max_outbound_inflight(MAX_INFLIGHT)
        .with_sys_topics_enabled(false)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const MQTT_3_1_1: u8 = 4;
    const MQTT_5: u8 = 5;

    /// Connects and returns the connection with the code of the CONNACK.
    async fn connect(broker: &Broker, version: u8, user: Option<(&str, &str)>) -> (TcpStream, u8) {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, if user.is_some() { 0xc2 } else { 0x02 }, 0, 60];
        if version == MQTT_5 {
            body.push(0);
        }
        let (name, password) = user.unwrap_or_default();
        for text in [Some("client"), user.map(|_| name), user.map(|_| password)].into_iter().flatten() {
            body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend(text.as_bytes());
        }
        let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).await.unwrap();
        stream.write_all(&[&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()).await.unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        assert_eq!(connack[0], 0x20);
        (stream, connack[3])
    }

    #[tokio::test]
    async fn without_users_every_client_is_accepted() {
        let broker = Broker::start(Access::Anonymous).await.unwrap();
        for version in [MQTT_3_1_1, MQTT_5] {
            assert_eq!(connect(&broker, version, None).await.1, 0);
            assert_eq!(connect(&broker, version, Some(("somebody", "else"))).await.1, 0);
        }
    }

    #[tokio::test]
    async fn with_users_only_they_are_accepted() {
        let users = [("proxy", "secret"), ("device", "007")].map(|(user, password)| (user.into(), password.into()));
        let broker = Broker::start(Access::Users(users.into())).await.unwrap();
        for version in [MQTT_3_1_1, MQTT_5] {
            assert_eq!(connect(&broker, version, Some(("proxy", "secret"))).await.1, 0);
            assert_eq!(connect(&broker, version, Some(("device", "007"))).await.1, 0);
            for stranger in [None, Some(("proxy", "007")), Some(("nobody", "secret")), Some(("proxy", ""))] {
                assert_ne!(connect(&broker, version, stranger).await.1, 0, "{stranger:?}");
            }
        }
    }

    #[tokio::test]
    async fn it_can_be_restarted_on_its_port() {
        let broker = Broker::start(Access::Anonymous).await.unwrap();
        let port = broker.port();
        let (mut client, _) = connect(&broker, MQTT_3_1_1, None).await;
        broker.stop().await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        let broker = Broker::start_on(port, Access::Anonymous).await.unwrap();
        assert_eq!(connect(&broker, MQTT_3_1_1, None).await.1, 0);
        assert!(Broker::start_on(port, Access::Anonymous).await.is_err());
    }

    #[tokio::test]
    async fn dropping_it_ends_it() {
        let broker = Broker::start(Access::Anonymous).await.unwrap();
        let (mut client, _) = connect(&broker, MQTT_3_1_1, None).await;
        drop(broker);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
