//! Tags that move: a device gets one of the tag's modules, whole, or nothing; and the newest one at once.

use std::sync::Arc;
use std::time::Instant;

use propeller_proxy::device::{Assemblies, Reception};
use propeller_proxy::embedded::sample;

use crate::support::Variable;
use crate::support::clients::client::{ANSWERS, Client, EVERYTHING, Message};
use crate::support::clients::daemon::CHANNEL;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::faults::moving_tag::{CHUNK_SIZE, CHUNKS, MovingTag};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;

const PINNED: Variable<'_> = ("PROXY_TAG_MOVES", "pinned");

/// Of two tags, 100 moves together. One is requested by one proplet at a time; the other is requested again in the
/// middle of each transfer, so that requests join and passes are repeated while it moves.
#[tokio::test]
async fn a_hundred_tag_moves_mix_no_versions() {
    const FOLLOWED: u64 = 76;
    const RESTLESS: u64 = 12;
    let registry = DockerRegistry::start().await;
    // Slow enough that a tag can move during a transfer.
    let site = Site::behind_relay(registry.host(), 250_000, &[CHUNK_SIZE]).await;
    let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
    let followed = MovingTag { name: "followed", registry: &registry };
    let restless = MovingTag { name: "restless", registry: &registry };
    let ask_in_the_middle = async {
        for round in 0..RESTLESS {
            let heard = client.chunks(restless.name).len();
            restless.move_to(2 * round).await;
            client.request(CHANNEL, [restless.name]).await;
            client.receives_chunks(restless.name, heard + 3).await;
            restless.move_to(2 * round + 1).await;
            client.request(CHANNEL, [restless.name]).await;
            client.receives_chunks(restless.name, heard + CHUNKS).await;
            let sent = usize::try_from(round).expect("few rounds") + 1;
            client.state_again(restless.name, "sent", sent).await;
        }
    };
    tokio::join!(followed.is_followed(site.mosquitto(), &client, FOLLOWED), ask_in_the_middle);
    assert!(followed.assert_unmixed(&client, FOLLOWED) > 0, "nobody who took every module at once got one");
    assert!(restless.assert_unmixed(&client, 2 * RESTLESS) > 0, "nobody who took every module at once got one");
}

/// A device that began to listen in the middle of the old version gets nothing of the new one, until it forgets the old.
#[tokio::test]
async fn leftover_chunks_of_the_old_version_are_not_completed_by_the_new_one() {
    let registry = DockerRegistry::start().await;
    let tag = MovingTag { name: "add", registry: &registry };
    let site = Site::start(registry.host(), &[CHUNK_SIZE]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    for number in 0..2 {
        tag.move_to(number).await;
        site.delivers("add", &MovingTag::module(number)).await;
    }
    client.received_all().await;
    let chunks = client.chunks("add");
    for start in 1..CHUNKS {
        let mut device = Assemblies::default();
        let heard = chunks[start..].iter().map(|chunk| device.receive(&chunk.payload, Instant::now()));
        let (of_old, of_new) = (CHUNKS - start, chunks.len() - CHUNKS);
        let expected = [vec![Reception::Stored; of_old], vec![Reception::OtherTotal; of_new]].concat();
        assert_eq!(heard.collect::<Vec<_>>(), expected, "from chunk {start} on");
    }
}

/// Whoever has taken the old version gets the new one at once, on the same proplet.
#[tokio::test]
async fn a_proplet_gets_each_version_in_turn() {
    let registry = DockerRegistry::start().await;
    let tag = MovingTag { name: "add", registry: &registry };
    let site = Site::start(registry.host(), &[CHUNK_SIZE]).await;
    for number in 0..5 {
        tag.move_to(number).await;
        site.delivers("add", &MovingTag::module(number)).await;
    }
}

#[tokio::test]
async fn a_module_of_one_chunk_stays_one_chunk() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    for number in 0..10 {
        let module = sample::noise(600, number);
        registry.pusher().wasm("add", "latest", module.clone().into()).await;
        site.delivers("add", &module).await;
    }
    client.received_all().await;
    assert_eq!(totals(&client.chunks("add")), [1; 10]);
}

/// What a digest names cannot move, whatever the tag of the same repository does.
#[tokio::test]
async fn a_digest_reference_never_changes() {
    let registry = DockerRegistry::start().await;
    let tag = MovingTag { name: "add", registry: &registry };
    let site = Site::start(registry.host(), &[CHUNK_SIZE]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    let pushed = registry.pusher().wasm("add", "latest", MovingTag::module(0).into()).await;
    let by_digest = format!("add@{}", pushed.manifest);
    let by_both = format!("add:latest@{}", pushed.manifest);
    for number in 0..5 {
        tag.move_to(number).await;
        site.delivers("add", &MovingTag::module(number)).await;
        for name in [&by_digest, &by_both] {
            site.delivers(name, &MovingTag::module(0)).await;
        }
    }
    client.received_all().await;
    for name in [by_digest, by_both] {
        assert_eq!(totals(&client.chunks(&name)), [CHUNKS; 5 * CHUNKS], "{name}");
    }
}

/// A tag that goes back means what it meant before.
#[tokio::test]
async fn a_tag_that_goes_back_and_forth_is_followed() {
    let registry = DockerRegistry::start().await;
    let tag = MovingTag { name: "add", registry: &registry };
    let site = Site::start(registry.host(), &[CHUNK_SIZE]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    for number in [0, 1, 0, 1, 2, 0] {
        tag.move_to(number).await;
        site.delivers("add", &MovingTag::module(number)).await;
    }
    client.received_all().await;
    assert_eq!(tag.assert_unmixed(&client, 2), 6);
}

/// Where tags are pinned, the digest that was sent is sent again, as long as there are requests for it.
#[tokio::test]
async fn a_pinned_tag_keeps_its_digest_while_in_use() {
    let registry = DockerRegistry::start().await;
    let tag = MovingTag { name: "add", registry: &registry };
    let site = Site::behind_relay(registry.host(), 250_000, &[CHUNK_SIZE, PINNED]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    tag.move_to(0).await;
    let proplet = Arc::new(connect(site.mosquitto()).await);
    let mut task = Task::start(&proplet, "add");
    task.has(2).await;
    tag.move_to(1).await;
    assert!(task.module().await.is_some_and(|module| module == MovingTag::module(0)), "{}", site.log());
    site.daemon().event("delivered").await;

    let fresh = connect(site.mosquitto()).await;
    assert!(fresh.request("add").await.is_some_and(|module| module == MovingTag::module(0)), "{}", site.log());
    // Another name of it has not been in use.
    site.daemon().nth_event("delivered", 2).await;
    let full_name = format!("{}/add", registry.host());
    let module = fresh.request(&full_name).await;
    assert!(module.is_some_and(|module| module == MovingTag::module(1)), "{}", site.log());
    assert!(totals(&client.chunks("add")).iter().all(|total| *total == CHUNKS), "{}", site.log());
}

fn totals(chunks: &[Message]) -> Vec<usize> {
    let totals = chunks.iter().map(Message::json).map(|chunk| chunk["total_chunks"].as_u64());
    totals.map(|total| total.and_then(|total| total.try_into().ok()).expect("a number of chunks")).collect()
}
