//! Replicas on one channel divide the requests and do not disturb each other.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use propeller_proxy::embedded::sample;
use serde_json::json;

use crate::support::clients::client::{ANSWERS, Client, EVERYTHING, Message};
use crate::support::clients::daemon::{CHANNEL, Daemon};
use crate::support::clients::proplet::connect;
use crate::support::faults::moving_tag::{CHUNK_SIZE, MovingTag};
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::{Variable, digest, wasm_of_size};

const GROUP: Variable<'_> = ("PROXY_SHARE_GROUP", "replicas");

/// Starts two replicas on the broker at `address`.
async fn replicas(address: &str, registry: &DockerRegistry, variables: &[Variable<'_>]) -> [Daemon; 2] {
    let start = async |id| {
        let own = [GROUP, ("PROXY_INSTANCE_ID", id)];
        Daemon::with(address, registry.host(), &[&own, variables].concat()).await
    };
    [start("one").await, start("two").await]
}

fn logs(replicas: &[Daemon; 2]) -> String {
    format!("one:\n{}\ntwo:\n{}", replicas[0].log(), replicas[1].log())
}

/// Pushes so many modules of one chunk, and returns them with their names.
fn push_modules(registry: &DockerRegistry, count: u64) -> Vec<(String, Vec<u8>)> {
    let modules: Vec<_> = (0..count).map(|number| (format!("add:{number}"), sample::noise(50_000, number))).collect();
    registry.fill("add", modules.iter().zip(0..).map(|((_, module), number)| (number.to_string(), module.clone())));
    modules
}

#[tokio::test]
async fn replicas_divide_the_requests() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let modules = push_modules(&registry, 40);
    let replicas = replicas(&mosquitto.address(), &registry, &[]).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let proplet = connect(&mosquitto).await;
    for (name, module) in &modules {
        assert!(proplet.request(name).await.as_ref() == Some(module), "{name}\n{}", logs(&replicas));
        client.state(name, "sent").await;
    }
    for replica in &replicas {
        assert!(!replica.events("delivered").is_empty(), "one of them does nothing\n{}", logs(&replicas));
    }
    assert_eq!(client.messages().iter().filter(|told| told.is_chunk()).count(), modules.len(), "{}", logs(&replicas));
}

/// What a replica has taken on when it is killed, another one does.
#[tokio::test]
async fn requests_are_served_after_a_replica_is_killed() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let modules = push_modules(&registry, 200);
    let mut replicas = replicas(&mosquitto.address(), &registry, &[]).await;
    let client = Client::listening(&mosquitto, &[ANSWERS[1]]).await;
    let proplet = connect(&mosquitto).await;
    let served = join_all(modules.iter().map(|(name, _)| proplet.request(name)));
    let kill = async {
        client.finds("a quarter of the modules", |told| (told.len() >= modules.len() / 4).then_some(())).await;
        replicas[0].signal("KILL").await;
        replicas[0].ended().await;
    };
    let (served, ()) = tokio::join!(served, kill);
    for ((name, module), served) in modules.iter().zip(served) {
        assert!(served.as_ref() == Some(module), "{name}\n{}", logs(&replicas));
    }
}

/// Whoever may publish on the status topic can send anything in any name.
#[tokio::test]
async fn forged_status_messages_cost_replicas_little() {
    const MEMORY: u64 = 128 << 20;
    const TOPIC: &str = "m/domain/c/channel/registry/status";
    let unlimited = Options { lines: "max_queued_messages 0", ..Options::default() };
    let (mosquitto, registry) = (Mosquitto::with(unlimited).await, DockerRegistry::start().await);
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let replicas = replicas(&mosquitto.address(), &registry, &[]).await;
    let client = Client::listening(&mosquitto, &[ANSWERS[1]]).await;
    let forged = |number: u32, instance: String, name: &str| {
        json!({
            "app_name": name, "state": "fetching", "digest": digest(&number.to_le_bytes()), "size": 1_200_000,
            "chunk_size": 512_000, "total_chunks": 3, "sent_chunks": 0, "error": null, "instance": instance, "time": "",
        })
    };
    let large = "x".repeat(60_000);
    client.publish_all(TOPIC, (0..1000).map(|number| forged(number, "x".into(), &large).to_string().into())).await;
    // Names that nobody announced.
    let claims = (0..20_000).map(|number| forged(number, format!("x{}", number % 100), "sub").to_string().into());
    client.publish_all(TOPIC, claims).await;
    for replica in &replicas {
        replica.event("messages-dropped").await;
    }
    let proplet = connect(&mosquitto).await;
    assert!(proplet.request("add").await.is_some_and(|served| served == module), "{}", logs(&replicas));
    for replica in &replicas {
        assert!(replica.peak_memory() < MEMORY, "{} bytes", replica.peak_memory());
    }
}

/// Whichever replica a request comes to, one of them sends the module.
#[tokio::test]
async fn requests_for_one_module_join_at_one_replica() {
    const REQUESTS: usize = 20;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(5_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    // Slow enough that the first pass goes on while the requests come.
    let relay = Relay::before(&mosquitto, 4_000_000).await;
    let address = relay.address();
    let mut replicas = replicas(&address, &registry, &[]).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let (early, late) = (connect(&mosquitto).await, connect(&mosquitto).await);
    let ask_often = async {
        client.request(CHANNEL, ["add"; REQUESTS]).await;
        client.receives_chunks("add", 3).await;
        client.request(CHANNEL, ["add"; REQUESTS]).await;
        late.request("add").await
    };
    for served in <[_; 2]>::from(tokio::join!(early.request("add"), ask_often)) {
        assert!(served.is_some_and(|served| served == module), "{}", logs(&replicas));
    }
    client.state("add", "sent").await;
    for replica in &mut replicas {
        replica.signal("TERM").await;
        replica.ended().await;
    }
    client.received_all().await;
    let statuses = client.statuses("add");
    let sending = statuses.iter().filter(|status| status["state"] == "sending");
    let senders: BTreeSet<_> = sending.map(|status| status["instance"].to_string()).collect();
    assert_eq!(senders.len(), 1, "{senders:?} sent it\n{}", logs(&replicas));
    let chunks: Vec<_> = client.chunks("add").iter().map(Message::json).collect();
    let total_chunks = chunks[0]["total_chunks"].as_u64().expect("a number");
    assert!(chunks.iter().all(|chunk| chunk["total_chunks"] == total_chunks), "two transfers\n{}", logs(&replicas));
    assert!(chunks.len() as u64 <= 4 * total_chunks, "{} of {total_chunks} chunks", chunks.len());
}

/// Whichever replica a request comes to, it knows what the other one has sent of the old version.
#[tokio::test]
async fn replicas_mix_no_versions_when_tags_move() {
    const MOVES: u64 = 30;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let tag = MovingTag { name: "add", registry: &registry };
    // Slow enough that a tag can move during a transfer.
    let relay = Relay::before(&mosquitto, 250_000).await;
    let address = relay.address();
    let replicas = replicas(&address, &registry, &[CHUNK_SIZE]).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    tag.is_followed(&mosquitto, &client, MOVES).await;
    assert!(tag.assert_unmixed(&client, MOVES) > 0, "{}", logs(&replicas));
    let owners = replicas.iter().filter(|replica| !replica.events("delivered").is_empty()).count();
    assert_eq!(owners, 1, "one member owns an app while it is present\n{}", logs(&replicas));
}
