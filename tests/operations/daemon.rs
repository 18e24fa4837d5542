//! The daemon as a process: its start, its signals, its exit status.

use std::sync::Arc;

use propeller_proxy::mqtt::topic::Layout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::clients::daemon::{Daemon, environment};
use crate::support::clients::proplet::{connect, connect_as};
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::tls::Tls;
use crate::support::{free_port, wasm_of_size};

#[tokio::test]
async fn a_signal_ends_the_daemon_with_status_0() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::between(&mosquitto, &registry).await;
        daemon.signal(signal).await;
        assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
        assert!(!daemon.events("stopped").is_empty(), "{}", daemon.log());
    }
    // It took leave of the broker, which otherwise notes an error.
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

/// What is being sent when the signal comes is finished if that takes no more than two seconds.
#[tokio::test]
async fn a_transfer_finishes_before_the_daemon_stops() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(10_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let (_relay, mut daemon) = Daemon::behind_relay(&mosquitto, &registry, 20_000_000).await;
    let proplet = connect(&mosquitto).await;
    let stop = async {
        daemon.event("verified").await;
        daemon.signal("TERM").await;
    };
    let (assembled, ()) = tokio::join!(proplet.request("add"), stop);
    assert!(assembled.as_deref() == Some(&module[..]), "{}", daemon.log());
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert_eq!(daemon.event("stopping").await["open_transfers"], 1, "{}", daemon.log());
}

/// A broker that has stopped reading, in the middle of a transfer, does not hold it up.
#[tokio::test]
async fn a_signal_ends_the_daemon_while_the_broker_hangs() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(20_000_000)).await;
    let (relay, mut daemon) = Daemon::behind_relay(&mosquitto, &registry, 5_000_000).await;
    connect(&mosquitto).await.publish_request("add").await;
    daemon.event("verified").await;
    relay.stall(true);
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    daemon.failure("stopping").await;
}

/// Nor does a registry that drips.
#[tokio::test]
async fn a_signal_ends_the_daemon_during_a_fetch() {
    let mosquitto = Mosquitto::start().await;
    let registry = FaultyRegistry::start(wasm_of_size(1000), [Fault::Slow]).await;
    let mut daemon = Daemon::start(&environment(&mosquitto.address(), registry.host())).await;
    connect(&mosquitto).await.publish_request("add").await;
    daemon.event("fetching").await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    daemon.failure("stopping").await;
}

#[tokio::test]
async fn a_signal_ends_the_daemon_while_the_broker_is_unreachable() {
    let registry = DockerRegistry::start().await;
    let mut daemon = Daemon::spawn(&environment(&format!("tcp://127.0.0.1:{}", free_port()), registry.host()));
    daemon.event("connection-failed").await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn the_daemon_waits_for_a_broker_that_starts_later() {
    let (mut mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    mosquitto.kill().await;
    let daemon = Daemon::spawn(&environment(&mosquitto.address(), registry.host()));
    daemon.event("connection-failed").await;
    mosquitto.restart().await;
    daemon.event("subscribed").await;
}

#[tokio::test]
async fn broker_credentials_are_sent_and_their_rejection_is_reported() {
    let users = [("proxy-id", "proxy-key"), ("device", "device-key")];
    let mosquitto = Mosquitto::with(Options { users: &users, ..Options::default() }).await;
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let login = |key: &str| {
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.extend([("PROXY_CLIENT_ID", "proxy-id".to_owned()), ("PROXY_CLIENT_KEY", key.to_owned())]);
        variables
    };
    let _daemon = Daemon::start(&login("proxy-key")).await;
    let proplet = connect_as(&mosquitto, Layout::Plain, 2, Some(("device", "device-key"))).await;
    assert!(proplet.request("add").await.is_some());

    for variables in [login("canary-key"), environment(&mosquitto.address(), registry.host())] {
        let mut refused = Daemon::spawn(&variables);
        assert_eq!(refused.ended().await.code(), Some(77), "{}", refused.log());
        refused.prints("error: broker mqtt://127.0.0.1").await;
        refused.prints("not authorized").await;
        refused.prints("hint: check PROXY_CLIENT_ID and PROXY_CLIENT_KEY").await;
        assert!(!refused.log().contains("canary"), "{}", refused.log());
    }
}

/// Reads packets until one of this kind comes, and returns what follows its fixed header (MQTT 3.1.1, section 2.2).
async fn packet(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let first = stream.read_u8().await.expect("a packet");
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = stream.read_u8().await.expect("its length");
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await.expect("the rest of it");
        if first == kind {
            return rest;
        }
    }
}

/// A broker that answers subscriptions to requests with these return codes, one connection after the other. It closes a
/// connection whose subscription it granted when it is told to, and the last one never; nor those for chunks.
async fn scripted_broker(codes: &'static [u8], close: Arc<Notify>) -> (String, JoinHandle<Vec<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("its address"));
    let task = tokio::spawn(async move {
        let mut for_chunks = Vec::new();
        for (index, code) in codes.iter().enumerate() {
            let mut stream = loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let connect = packet(&mut stream, 0x10).await;
                stream.write_all(&[0x20, 2, 0, 0]).await.expect("send CONNACK");
                if !connect.windows(7).any(|bytes| bytes == b"-chunks") {
                    break stream;
                }
                for_chunks.push(stream);
            };
            let subscribe = packet(&mut stream, 0x82).await;
            let answer = [0x90, 6, subscribe[0], subscribe[1], *code, *code, 0, 0];
            stream.write_all(&answer).await.expect("send SUBACK");
            if index + 1 == codes.len() {
                for_chunks.push(stream);
                return for_chunks;
            }
            if *code == REFUSED {
                let mut rest = Vec::new();
                // What was published before may still come; then the link ends.
                let _ = stream.read_to_end(&mut rest).await;
            } else {
                close.notified().await;
            }
        }
        unreachable!("the last connection returns")
    });
    (address, task)
}

const REFUSED: u8 = 0x80;

#[tokio::test]
async fn a_subscription_rejected_at_start_ends_the_daemon() {
    let (address, _broker) = scripted_broker(&[REFUSED], Arc::default()).await;
    let mut daemon = Daemon::spawn(&environment(&address, "localhost:5000"));
    assert_eq!(daemon.ended().await.code(), Some(77), "{}", daemon.log());
    daemon.prints("no permission to subscribe to m/domain/c/channel/messages/registry/proplet and").await;
}

/// A broker whose permissions are not loaded yet when it is back does not leave us deaf.
#[tokio::test]
async fn a_subscription_rejected_later_is_retried() {
    let close = Arc::new(Notify::new());
    let (address, broker) = scripted_broker(&[2, REFUSED, 2], Arc::clone(&close)).await;
    let daemon = Daemon::start(&environment(&address, "localhost:5000")).await;
    close.notify_one();
    daemon.failure("broker-refused").await;
    daemon.nth_event("subscribed", 2).await;
    broker.await.expect("the broker's script");
}

#[tokio::test]
async fn a_broker_certificate_is_verified_with_system_roots() {
    let tls = Tls::self_signed();
    let mosquitto = Mosquitto::with(Options { tls: Some(&tls), ..Options::default() }).await;
    let folder = tempfile::tempdir().expect("a folder for the certificate");
    let (certificate, _) = tls.write(folder.path());
    let address = mosquitto.address();
    assert!(address.starts_with("ssl://"));

    let mut variables = environment(&address, "localhost:5000");
    let mut stranger = Daemon::spawn(&variables);
    assert_eq!(stranger.ended().await.code(), Some(77), "{}", stranger.log());
    assert!(stranger.log().contains("UnknownIssuer"), "{}", stranger.log());

    variables.push(("SSL_CERT_FILE", certificate.display().to_string()));
    Daemon::start(&variables).await;
}

#[tokio::test]
async fn a_broker_may_have_an_ipv6_address() {
    let port = free_port();
    let line = format!("listener {port} ::1\n");
    let _mosquitto = Mosquitto::with(Options { lines: &line, ..Options::default() }).await;
    Daemon::start(&environment(&format!("tcp://[::1]:{port}"), "localhost:5000")).await;
}

/// The memory for a large module is that of the window in flight, not that of the module.
#[tokio::test]
async fn memory_does_not_grow_with_the_size_of_a_module() {
    const LIMIT: u64 = 40 << 20;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("large", "latest", wasm_of_size(100_000_000)).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet = connect(&mosquitto).await;
    assert!(proplet.request("large").await.is_some(), "{}", daemon.log());
    daemon.event("delivered").await;
    let peak = daemon.peak_memory();
    assert!(peak <= LIMIT, "{} KiB were resident", peak / 1024);
}
