//! `deliver`: through running proxies, or without one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::clients::cli::Shell;
use crate::support::clients::client::{Client, EVERYTHING, Message, PRESENCES, STATUSES};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::faults::moving_tag::{CHUNK_SIZE, MovingTag};
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::{digest, wasm_of_size};

const NO_REQUESTS: &str = "\
user proxy
topic read m/domain/c/channel/registry/proplet
topic readwrite m/domain/c/channel/registry/status
topic readwrite m/domain/c/channel/registry/proxy/+
topic write m/domain/c/channel/registry/server
";

async fn servers() -> (Mosquitto, DockerRegistry) {
    (Mosquitto::start().await, DockerRegistry::start().await)
}

/// The numbers of chunks that the module was sent in.
fn totals(client: &Client, app_name: &str) -> BTreeSet<u64> {
    let total = |chunk: &Message| chunk.json()["total_chunks"].as_u64().expect("a number");
    client.chunks(app_name).iter().map(total).collect()
}

#[tokio::test]
async fn deliver_sends_modules_to_listening_devices() {
    let (mosquitto, registry) = servers().await;
    let [small, large] = [8, 1_200_000].map(wasm_of_size);
    registry.pusher().wasm("small", "1", small.clone()).await;
    let large_digest = registry.pusher().wasm("large", "1", large.clone()).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let shell = Shell::of(&mosquitto, &registry);

    let ran = shell.run(&["deliver", "small:1", "nope:1"]).await.ended(1);
    assert!(ran.text().starts_with(&format!("small:1 {}: 8 bytes in 1 chunk, ", digest(&small))), "{}", ran.text());
    assert_eq!(ran.text().lines().count(), 1);
    let stderr = ran.stderr.replace(registry.host(), "REGISTRY");
    assert_snapshot!("deliver_errors", stderr);

    let by_digest = format!("large@{}", large_digest.manifest);
    let ran = shell.run(&["deliver", &by_digest, "nope:1", "--format", "json", "--layout", "messages"]).await.ended(1);
    let report = ran.json();
    assert_eq!(
        (&report[0]["app_name"], &report[0]["digest"], &report[0]["size"], &report[0]["chunks"]),
        (&json!(by_digest), &json!(digest(&large)), &json!(1_200_000), &json!(3))
    );
    assert!(["sent_bytes", "fetching_seconds", "sending_seconds"].iter().all(|name| report[0][name].is_number()));
    assert_eq!((&report[1]["app_name"], &report[1]["error"]["code"]), (&json!("nope:1"), &json!("unknown-image")));

    client.received_all().await;
    let chunks = client.chunks(&by_digest);
    assert!(chunks.len() == 3 && chunks.iter().all(|chunk| chunk.topic.contains("/messages/")), "{}", client.text());
    let presences: Vec<_> = client.messages().into_iter().filter(Message::is_presence).collect();
    assert!(presences.last().is_some_and(|last| last.json()["online"] == false), "{}", client.text());
    let state = fs::metadata(shell.path("state")).expect("the state of the daemon to come");
    assert!(state.permissions().mode() & 0o777 == 0o700 && shell.is_tidy());
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

#[tokio::test]
async fn deliver_sends_requests_to_a_running_proxy() {
    let (mosquitto, registry) = servers().await;
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let shell = Shell::of(&mosquitto, &registry).with("PROXY_INSTANCE_ID", "proxy-1");
    let daemon = Daemon::start(&shell.variables()).await;
    let client = Client::listening(&mosquitto, &[PRESENCES, STATUSES].concat()).await;
    for layout in ["plain", "messages"] {
        let ran = shell.run(&["deliver", "add", "nope", "--format", "json", "--layout", layout]).await.ended(1);
        let report = ran.json();
        assert_eq!(
            (&report[0]["digest"], &report[0]["size"], &report[0]["chunks"], &report[0]["sent_bytes"]),
            (&json!(digest(&module)), &json!(1_200_000), &json!(3), &Value::Null)
        );
        assert!(["fetching_seconds", "sending_seconds"].iter().all(|name| report[0][name].is_number()), "{report}");
        assert_eq!(report[1]["error"]["code"], "unknown-image");
    }
    let ran = shell.run(&["deliver", "add", "add", "no reference"]).await.ended(1);
    assert_eq!(ran.text().matches(" bytes in 3 chunks, ").count(), 2, "{}", ran.text());
    assert!(ran.stderr.contains("\"no reference\" is not a reference to a module"), "{}", ran.stderr);
    assert!(client.statuses("add").iter().all(|status| status["instance"] == "proxy-1"), "{}", client.text());
    let presences = client.messages().into_iter().filter(Message::is_presence);
    assert!(presences.map(|presence| presence.json()).all(|presence| presence["online"] == true), "{}", client.text());
    assert_eq!(daemon.events("subscribed").len(), 1, "{}", daemon.log());
}

/// An earlier request of a device, and one that comes while the delivery waits, are served by the same transfer.
#[tokio::test]
async fn deliver_joins_the_requests_of_devices() {
    let (mosquitto, registry) = servers().await;
    let module = wasm_of_size(5_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let relay = Relay::before(&mosquitto, 1_000_000).await;
    let address = relay.address();
    let home = Shell::between(&address, registry.host()).with("PROXY_CHUNK_SIZE", "64000");
    let daemon = Daemon::start(&home.variables()).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let (early, late) = (Arc::new(connect(&mosquitto).await), Arc::new(connect(&mosquitto).await));
    let mut before = Task::start(&early, "add");
    before.has(2).await;
    let shell = Shell::of(&mosquitto, &registry);
    let meanwhile = async {
        client
            .finds("the second request", |told| (told.iter().filter(|one| one.is_request()).count() >= 2).then_some(()))
            .await;
        let mut task = Task::start(&late, "add");
        assert!(task.module().await.as_deref() == Some(&module[..]), "{}", daemon.log());
    };
    let (ran, ()) = tokio::join!(shell.run(&["deliver", "add", "--format", "json"]), meanwhile);
    let report = ran.ended(0).json();
    assert!(before.module().await.as_deref() == Some(&module[..]), "{}", daemon.log());
    client.received_all().await;
    assert_eq!(totals(&client, "add"), BTreeSet::from([report[0]["chunks"].as_u64().expect("a number")]));
    let statuses = client.statuses("add");
    let begun = statuses.iter().filter(|status| status["state"] == "queued").count();
    assert_eq!(begun, 1, "one transfer: {statuses:?}");
}

#[tokio::test]
async fn deliver_sends_requests_to_running_replicas() {
    let (mosquitto, registry) = servers().await;
    let (name, value) = CHUNK_SIZE;
    let shell = || Shell::of(&mosquitto, &registry).with("PROXY_SHARE_GROUP", "replicas").with(name, value);
    let shells = ["one", "two"].map(|id| shell().with("PROXY_INSTANCE_ID", id));
    let _replicas = [Daemon::start(&shells[0].variables()).await, Daemon::start(&shells[1].variables()).await];
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let tag = MovingTag { name: "app", registry: &registry };
    let mut totals = BTreeSet::new();
    for moves in 0..3 {
        tag.move_to(moves).await;
        let report = shell().run(&["deliver", "app", "--format", "json"]).await.ended(0).json();
        assert_eq!(report[0]["digest"], digest(&MovingTag::module(moves)));
        totals.insert(report[0]["chunks"].as_u64());
    }
    assert_eq!(totals.len(), 3, "each version in a number of chunks of its own");
    client.received_all().await;
    tag.assert_unmixed(&client, 2);
}

/// What was delivered without a proxy, the next delivery and the proxy that comes then know.
#[tokio::test]
async fn a_moved_tag_is_delivered_in_another_number_of_chunks() {
    let (mosquitto, registry) = servers().await;
    let (name, value) = CHUNK_SIZE;
    let shell = Shell::of(&mosquitto, &registry).with(name, value);
    let tag = MovingTag { name: "app", registry: &registry };
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let deliver =
        async || shell.run(&["deliver", "app", "--format", "json"]).await.ended(0).json()[0]["chunks"].clone();
    tag.move_to(0).await;
    assert_eq!([deliver().await, deliver().await], [10, 10], "the same module is cut in the same way");
    tag.move_to(1).await;
    assert_eq!(deliver().await, 11);
    let daemon = Daemon::start(&shell.variables()).await;
    tag.move_to(2).await;
    assert!(connect(&mosquitto).await.request("app").await == Some(MovingTag::module(2)), "{}", daemon.log());
    client.received_all().await;
    assert_eq!(totals(&client, "app"), BTreeSet::from([10, 11, 12]), "{}", daemon.log());
    tag.assert_unmixed(&client, 2);
}

/// Who does not know what the proxies of the channel sent takes care not to be mixed with it.
#[tokio::test]
async fn a_separate_state_knows_no_transfers_of_the_proxy() {
    let (mosquitto, registry) = servers().await;
    let (name, value) = CHUNK_SIZE;
    let shell = || Shell::of(&mosquitto, &registry).with(name, value);
    let tag = MovingTag { name: "app", registry: &registry };
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let home = shell();
    let mut daemon = Daemon::start(&home.variables()).await;
    tag.move_to(0).await;
    assert!(connect(&mosquitto).await.request("app").await.is_some(), "{}", daemon.log());
    daemon.signal("TERM").await;
    daemon.ended().await;
    tag.move_to(1).await;
    let report = shell().run(&["deliver", "app", "--format", "json"]).await.ended(0).json();
    assert!(report[0]["chunks"].as_u64() > Some(11), "{report}");
    client.received_all().await;
    tag.assert_unmixed(&client, 1);
}

/// The requests of devices, the session and the identifier are the proxy's.
#[tokio::test]
async fn deliver_serves_the_requests_of_devices_meanwhile() {
    let (mosquitto, registry) = servers().await;
    let module = wasm_of_size(5_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let other = wasm_of_size(8);
    registry.pusher().wasm("other", "latest", other.clone()).await;
    let relay = Relay::before(&mosquitto, 1_000_000).await;
    let address = relay.address();
    let shell = Shell::of(&mosquitto, &registry);
    let mut daemon = Daemon::start(&shell.variables_at(&address)).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let (proplet, waiting) = (Arc::new(connect(&mosquitto).await), Arc::new(connect(&mosquitto).await));
    let mut open = Task::start(&proplet, "add");
    open.has(1).await;
    daemon.signal("KILL").await;
    daemon.ended().await;
    let is_gone = |message: &Message| message.is_presence() && message.json()["online"] == false;
    client.finds("two wills", |told| (told.iter().filter(|one| is_gone(one)).count() >= 2).then_some(())).await;
    // It waits for the proxy in the session.
    let mut kept = Task::start(&waiting, "other");
    kept.requested().await;

    shell.run(&["deliver", "other", "-q"]).await.ended(0);
    assert!(kept.module().await.as_deref() == Some(&other[..]), "{}", client.text());

    // What it did not finish is left for the proxy.
    let daemon = Daemon::start(&shell.variables()).await;
    assert!(open.module().await.as_deref() == Some(&module[..]), "{}", daemon.log());
}

#[tokio::test]
async fn a_state_in_use_is_not_shared() {
    let ((mosquitto, registry), other) = (servers().await, Mosquitto::start().await);
    let shell = || Shell::of(&mosquitto, &registry);
    let home = tempfile::tempdir().expect("a home");
    let usual = shell().with("PROXY_STATE_DIR", "").with("HOME", &home.path().display().to_string());
    let usual_state = home.path().join(".local/state/propeller-proxy");
    let named = shell();
    let named_state = named.path("state");
    for (shell, state) in [(named, named_state), (usual, usual_state)] {
        let _daemon = Daemon::start(&shell.variables_at(&other.address())).await;
        let ran = shell.run(&["deliver", "add"]).await.ended(1);
        assert_snapshot!("deliver_busy", ran.shown(&[(&state.display().to_string(), "STATE")]));
    }
}

/// The broker drops the request in silence.
#[tokio::test]
async fn a_request_that_the_broker_denies_is_reported() {
    let options = Options { users: &[("proxy", "key")], acl: Some(NO_REQUESTS), ..Options::default() };
    let (mosquitto, registry) = (Mosquitto::with(options).await, DockerRegistry::start().await);
    let shell = Shell::of(&mosquitto, &registry).with("PROXY_CLIENT_ID", "proxy").with("PROXY_CLIENT_KEY", "key");
    let _daemon = Daemon::start(&shell.variables()).await;
    let ran = shell.run(&["deliver", "add", "--format", "json"]).await.ended(1);
    assert_eq!(ran.json()[0]["error"]["code"], "timeout");
    assert_snapshot!("deliver_not_permitted", ran.shown(&[]));
}
