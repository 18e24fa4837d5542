//! Ctrl-C and SIGTERM, while a command waits for somebody.

use std::fs;

use serde_json::json;
use tokio::net::TcpListener;

use crate::support::clients::cli::Shell;
use crate::support::clients::client::{Client, STATUSES};
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::{digest, wasm_of_size};

/// Accepts connections and sends nothing.
async fn silence() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    (listener, address)
}

#[tokio::test]
async fn a_signal_ends_a_waiting_command() {
    for command in [
        &["check"][..],
        &["deliver", "app"],
        &["request", "app", "-o", "out.wasm"],
        &["inspect", "app"],
        &["push", "app.wasm", "app"],
        &["healthcheck"],
    ] {
        for (signal, status) in [("INT", 130), ("TERM", 143)] {
            let (listener, address) = silence().await;
            let (_, port) = address.rsplit_once(':').expect("a port");
            let shell = Shell::between(&format!("tcp://{address}"), &address).with("PROXY_HTTP_PORT", port);
            fs::write(shell.path("app.wasm"), wasm_of_size(8)).expect("write the module");
            let mut running = shell.start(command);
            // It waits for an answer now.
            let _connection = listener.accept().await.expect("a connection");
            assert_eq!(running.signal(signal).await.code(), Some(status), "{command:?} by {signal}");
            let said = running.rest().await;
            assert!(!said.contains("error") && !said.contains("panicked"), "{command:?}: {said}");
            assert!(!shell.path("out.wasm").exists());
        }
    }
}

#[tokio::test]
async fn a_signal_ends_watch_with_status_0() {
    let mosquitto = Mosquitto::start().await;
    let shell = Shell::between(&mosquitto.address(), "localhost:1");
    for signal in ["INT", "TERM"] {
        let mut running = shell.start(&["watch"]);
        running.says("watching").await;
        assert_eq!(running.signal(signal).await.code(), Some(0));
    }
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

/// What is under way when the signal comes is withdrawn, and the broker is taken leave of.
#[tokio::test]
async fn a_signal_withdraws_a_delivery() {
    let mosquitto = Mosquitto::start().await;
    let registry = FaultyRegistry::start(wasm_of_size(1000), [Fault::Slow]).await;
    let client = Client::listening(&mosquitto, &STATUSES).await;
    let shell = Shell::between(&mosquitto.address(), registry.host());
    let mut running = shell.start(&["deliver", "app"]);
    client.state("app", "fetching").await;
    assert_eq!(running.signal("INT").await.code(), Some(130));
    let failed = client.state("app", "failed").await;
    assert_eq!(failed["error"]["code"], "withdrawn", "{failed}");
    assert!(shell.is_tidy(), "its state goes with it");
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

/// A reader that does not read keeps nobody from ending.
#[tokio::test]
async fn a_full_pipe_does_not_delay_a_signal() {
    let mosquitto = Mosquitto::start().await;
    let shell = Shell::between(&mosquitto.address(), "localhost:1");
    let mut running = shell.start(&["watch", "--format", "json"]);
    running.says("watching").await;
    let client = Client::listening(&mosquitto, &STATUSES).await;
    let status = json!({
        "app_name": "a".repeat(500), "state": "sent", "digest": digest(b""), "size": 5, "chunk_size": 2, "total_chunks": 3,
        "sent_chunks": 3, "error": null, "instance": "i", "time": "now",
    });
    // More than the 64 KiB that a pipe holds.
    let statuses = (0..300).map(|_| status.to_string().into());
    client.publish_all("m/domain/c/channel/registry/status", statuses).await;
    assert_eq!(running.signal("INT").await.code(), Some(0));
}
