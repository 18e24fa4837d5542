//! Modules of all sizes, at every QoS, in both layouts, arrive bit-exact under the assembly rules of stock proplets.

use bytes::Bytes;
use propeller_proxy::device::{Proplet, Tally};
use propeller_proxy::mqtt::topic::Layout;
use tokio::process::Command;

use crate::support::clients::client::{Client, STATUSES, request_topic};
use crate::support::clients::daemon::{CHANNEL, DOMAIN, Daemon, environment};
use crate::support::clients::proplet::{connect, connect_at};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::wasm_of_size;

const CHUNK_SIZE: usize = 512_000;

#[tokio::test]
async fn every_size_arrives_at_every_qos_in_both_layouts() {
    let registry = DockerRegistry::start().await;
    let sizes = [8, CHUNK_SIZE, CHUNK_SIZE + 1, 3_000_000, 60_000_000];
    let mut modules = Vec::new();
    for size in sizes {
        let module = wasm_of_size(size);
        registry.pusher().wasm(&format!("size/{size}"), "1.0", module.clone()).await;
        modules.push((format!("{}/size/{size}:1.0", registry.host()), module));
    }
    for qos in [0, 1, 2] {
        let mosquitto = Mosquitto::start().await;
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.push(("PROXY_MQTT_QOS", qos.to_string()));
        let daemon = Daemon::start(&variables).await;
        for (asked, other) in [(Layout::Messages, Layout::Plain), (Layout::Plain, Layout::Messages)] {
            let proplet = connect_at(&mosquitto, asked, qos).await;
            let bystander = connect_at(&mosquitto, other, qos).await;
            for (app_name, module) in &modules {
                let assembled = proplet.request(app_name).await;
                assert!(assembled.as_deref() == Some(module), "{app_name} at QoS {qos}, {asked:?}\n{}", daemon.log());
            }
            let chunks = sizes.iter().map(|size| size.div_ceil(CHUNK_SIZE) as u64).sum();
            assert_eq!(proplet.tally(), Tally { stored: chunks, ..Tally::default() }, "QoS {qos}, {asked:?}");
            assert_eq!(bystander.tally(), Tally::default(), "QoS {qos}: answered in {other:?}, asked in {asked:?}");
        }
    }
}

#[tokio::test]
async fn every_chunk_size_delivers_the_module() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(10_007);
    registry.pusher().wasm("odd", "latest", module.clone()).await;
    for (chunk_size, chunks) in [(1000, 11), (690, 15), (10_007, 1), (7_800_000, 1)] {
        let mosquitto = Mosquitto::start().await;
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.push(("PROXY_CHUNK_SIZE", chunk_size.to_string()));
        let _daemon = Daemon::start(&variables).await;
        let proplet = connect(&mosquitto).await;
        assert!(proplet.request("odd").await.as_deref() == Some(&module[..]), "{chunk_size}");
        assert_eq!(proplet.tally().stored, chunks);
    }
}

/// Requests for an app that is being sent join: one fetch, and no second pass for each.
#[tokio::test]
async fn requests_for_one_app_join_one_transfer() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(20_000_000);
    registry.pusher().wasm("shared", "latest", module.clone()).await;
    let (_relay, daemon) = Daemon::behind_relay(&mosquitto, &registry, 20_000_000).await;
    let (first, second) = (connect(&mosquitto).await, connect(&mosquitto).await);
    let (one, other) = tokio::join!(first.request("shared"), second.request("shared"));
    assert!(one.as_deref() == Some(&module[..]) && other.as_deref() == Some(&module[..]));
    daemon.event("delivered").await;
    for event in ["verified", "joined"] {
        assert_eq!(daemon.events(event).len(), 1, "{event}\n{}", daemon.log());
    }
    let published = first.tally().stored + first.tally().repeated;
    assert!((40..80).contains(&published), "{published} chunks were published");
}

/// A small module requested during a large transfer does not wait for its end.
#[tokio::test]
async fn transfers_take_turns() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let (large, small) = (wasm_of_size(40_000_000), wasm_of_size(1_000_000));
    registry.pusher().wasm("large", "latest", large.clone()).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    // Slow enough that the small module is there long before the large one is through.
    let (_relay, _daemon) = Daemon::behind_relay(&mosquitto, &registry, 20_000_000).await;
    let (patient, hurried) = (connect(&mosquitto).await, connect(&mosquitto).await);
    let started = tokio::sync::Notify::new();
    let patiently = patient.request_with("large", |chunks, _| {
        if chunks > 0 {
            started.notify_one();
        }
    });
    let hurriedly = async {
        started.notified().await;
        let module = hurried.request("small").await;
        (module, hurried.tally().stored)
    };
    let (large_assembled, (small_assembled, heard)) = tokio::join!(patiently, hurriedly);
    assert!(small_assembled.as_deref() == Some(&small[..]));
    assert!(large_assembled.as_deref() == Some(&large[..]));
    // Both proplets receive everything; the small one was complete before the large one's 79 chunks were through.
    assert!(heard < 60, "the small module came after {heard} chunks");
}

#[tokio::test]
async fn deliveries_continue_after_a_broker_restart() {
    let (mut mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(3_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    mosquitto.kill().await;
    daemon.event("connection-failed").await;
    mosquitto.restart().await;
    daemon.nth_event("subscribed", 2).await;
    let proplet = connect(&mosquitto).await;
    assert!(proplet.request("add").await.as_deref() == Some(&module[..]), "{}", daemon.log());
}

/// What was in flight when the link broke is published again.
#[tokio::test]
async fn a_broken_link_loses_no_chunks() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(20_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    // Slow enough that the cut comes in the middle.
    let (relay, daemon) = Daemon::behind_relay(&mosquitto, &registry, 20_000_000).await;
    let proplet = connect(&mosquitto).await;
    let under_way = tokio::sync::Notify::new();
    let cut = async {
        under_way.notified().await;
        relay.cut().await;
    };
    let request = proplet.request_with("add", |chunks, _| {
        if chunks >= 5 {
            under_way.notify_one();
        }
    });
    let (assembled, ()) = tokio::join!(request, cut);
    assert!(assembled.as_deref() == Some(&module[..]), "{}", daemon.log());
    daemon.nth_event("subscribed", 2).await;
    assert_eq!(proplet.tally().stored, 40);
}

/// A name comes back byte for byte, whatever the registry makes of it.
#[tokio::test]
async fn answers_repeat_the_app_name_byte_for_byte() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(100);
    let pushed = registry.pusher().wasm("acme/add.wasm", "latest", module.clone()).await;
    registry.pusher().wasm("acme/add.wasm", "1.0", module.clone()).await;
    let _daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet = connect(&mosquitto).await;
    for app_name in [
        "acme/add.wasm",
        "acme/add.wasm:1.0",
        &format!("{}/acme/add.wasm", registry.host()),
        &format!("oci://{}/acme/add.wasm:1.0", registry.host()),
        &format!("acme/add.wasm@{}", pushed.manifest),
        &format!("acme/add.wasm:gone@{}", pushed.manifest),
    ] {
        assert_eq!(proplet.request(app_name).await.map(Bytes::from), Some(module.clone()), "{app_name}");
    }
}

/// Messages that are no requests neither stop the daemon nor bring an answer.
#[tokio::test]
async fn malformed_requests_are_reported() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet: Proplet = connect(&mosquitto).await;
    for payload in ["", "add", "{}", r#"{"app_name": 1}"#, r#"{"app_name": "NOT A NAME"}"#, "\u{0}"] {
        proplet.publish(payload.to_owned().into()).await;
    }
    proplet.publish(vec![b'x'; 2_000_000].into()).await;
    assert!(proplet.request("add").await.is_some(), "{}", daemon.log());
    daemon.nth_failure("bad-request", 6).await;
    daemon.failure("bad-reference").await;
    assert_eq!(proplet.tally(), Tally { stored: 1, ..Tally::default() });
}

/// A message of any size costs one refusal, and neither the connection nor memory, however often it is delivered.
#[tokio::test]
async fn an_oversize_message_does_not_break_the_connection() {
    const MEMORY: u64 = 64 << 20;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let (client, proplet) = (Client::listening(&mosquitto, &[STATUSES[1]]).await, connect(&mosquitto).await);
    client.retain(&request_topic(CHANNEL), vec![b'x'; 5_000_000]).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    proplet.publish(vec![b'x'; 9_000_000].into()).await;
    daemon.failure("bad-request").await;
    assert!(proplet.request("add").await.is_some(), "{}", daemon.log());
    assert_eq!(daemon.events("subscribed").len(), 1, "{}", daemon.log());
    assert!(daemon.peak_memory() < MEMORY, "{} bytes", daemon.peak_memory());
}

/// A retained message is a request of some earlier time.
#[tokio::test]
async fn retained_requests_are_not_served() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let topic = format!("m/{DOMAIN}/c/{CHANNEL}/registry/proplet");
    let port = mosquitto.port().to_string();
    let retain = ["-p", &port, "-r", "-q", "2", "-t", &topic, "-m", r#"{"app_name": "retained"}"#];
    let status = Command::new("mosquitto_pub").args(retain).status().await.expect("run mosquitto_pub");
    assert!(status.success());
    let daemon = Daemon::between(&mosquitto, &registry).await;
    assert!(connect(&mosquitto).await.request("add").await.is_some());
    assert!(!daemon.log().contains("\"retained\""), "{}", daemon.log());
}

/// A slow transfer logs its progress.
#[tokio::test]
async fn the_log_shows_progress() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(15_000_000)).await;
    let (_relay, daemon) = Daemon::behind_relay(&mosquitto, &registry, 5_000_000).await;
    assert!(connect(&mosquitto).await.request("add").await.is_some());
    let progress = &daemon.events("sending")[0];
    assert!(progress["acknowledged_chunks"].is_u64() && progress["total_chunks"] == 30, "{progress}");
}
