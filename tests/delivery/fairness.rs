//! Channels share what there is: none takes what another one needs.

use bytes::Bytes;
use propeller_proxy::embedded::sample;

use crate::support::clients::client::{Client, Message, STATUSES, request, request_topic};
use crate::support::clients::daemon::{DOMAIN, Daemon};
use crate::support::clients::proplet::connect_on;
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::{Variable, wasm_of_size};

/// Two channels of the tests' domain.
const TWO_CHANNELS: Variable<'_> = ("PROXY_CHANNEL_ID", "flood,calm");

/// Each kind of request that is refused, as fast as the broker takes them, while the modules of another channel are served.
/// What was refused leaves nothing behind.
#[tokio::test]
async fn refused_requests_on_one_channel_cost_the_others_nothing() {
    const MODULES: u64 = 25;
    const BATCH: usize = 500;
    /// Of memory, bytes: queues that are full of the longest names, and what 911 open requests and the modules take.
    const GROWTH: u64 = 128 << 20;
    let module = |number| sample::noise(50_000, number);
    // Or else it drops what the daemon has not read yet.
    let options = Options { lines: "max_queued_messages 0", ..Options::default() };
    let (mosquitto, registry) = (Mosquitto::with(options).await, DockerRegistry::start().await);
    registry.fill("add", (0..=MODULES).map(|number| (number.to_string(), module(number))));
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &[TWO_CHANNELS]).await;
    let calm = connect_on(&mosquitto, (DOMAIN, "calm"), None).await;
    assert!(calm.request(&format!("add:{MODULES}")).await.is_some_and(|served| served == module(MODULES)));
    let before = daemon.peak_memory();

    let long = format!("localhost:1/{}", "a/".repeat(2000));
    let (flooder, served) = (Client::listening(&mosquitto, &[]).await, tokio::sync::watch::Sender::new(false));
    let flood = async {
        let mut number = 0;
        while !*served.borrow() {
            let names = (number..number + BATCH).map(|number| match number % 4 {
                0 => format!("127.0.0.1:1/app/{number}"),
                1 => format!("NOT A NAME {number}"),
                2 => format!("nothing/{number}"),
                _ => format!("{long}{number}"),
            });
            flooder.publish_all(&request_topic("flood"), names.map(|name| request(&name))).await;
            number += BATCH;
        }
        number
    };
    let serve = async {
        for number in 0..MODULES {
            let name = format!("add:{number}");
            assert!(calm.request(&name).await.is_some_and(|served| served == module(number)), "{name}");
        }
        served.send_replace(true);
    };
    let (refused, ()) = tokio::join!(flood, serve);
    assert!(refused >= BATCH);
    let growth = daemon.peak_memory() - before;
    assert!(growth < GROWTH, "{refused} requests took {} KiB", growth >> 10);
}

/// Fills the repository `many` with so many modules, and `few` with one; returns their names, and that one.
async fn filled(registry: &DockerRegistry, modules: u64, size: usize, few: usize) -> (Vec<String>, Bytes) {
    registry.fill("many", (0..modules).map(|number| (number.to_string(), sample::noise(size, number))));
    let module = wasm_of_size(few);
    registry.pusher().wasm("few", "latest", module.clone()).await;
    ((0..modules).map(|number| format!("many:{number}")).collect(), module)
}

/// Requests `few` on the calm channel, while `names` are sent on the other; fewer than `most` of those may be through by then.
async fn is_served_before(mosquitto: &Mosquitto, client: &Client, names: &[String], module: &Bytes, most: usize) {
    let calm = connect_on(mosquitto, (DOMAIN, "calm"), None).await;
    assert!(calm.request("few").await.is_some_and(|served| served == *module), "{}", client.text());
    let is_sent = |name: &&String| client.statuses(name).iter().any(|status| status["state"] == "sent");
    let sent = names.iter().filter(is_sent).count();
    assert!(sent < most, "{sent} of the other channel went first");
}

/// One place at the registry, for which one channel has forty modules waiting: the other one has a place of its own.
#[tokio::test]
async fn one_place_at_a_registry_is_no_other_channels() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let (names, module) = filled(&registry, 40, 200_000, 1000).await;
    let way = Relay::start(registry.host()).await;
    way.limit(u32::MAX, 1_000_000);
    let variables = [TWO_CHANNELS, ("PROXY_MAX_FETCHES", "1")];
    let _daemon = Daemon::with(&mosquitto.address(), &way.host(), &variables).await;
    let client = Client::listening(&mosquitto, &STATUSES).await;
    client.request("flood", names.iter().map(String::as_str)).await;
    let is_sent = |message: &Message| message.is_status() && message.json()["state"] == "sent";
    client.finds("the end of one", |messages| messages.iter().any(is_sent).then_some(())).await;
    is_served_before(&mosquitto, &client, &names, &module, names.len() / 2).await;
}

/// All places at the registry are held by downloads of one channel that take more than a minute.
#[tokio::test]
async fn a_channel_with_slow_downloads_keeps_no_other_waiting() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let (names, module) = filled(&registry, 20, 2_000_000, 1000).await;
    let way = Relay::start(registry.host()).await;
    way.limit(u32::MAX, 200_000);
    let daemon = Daemon::with(&mosquitto.address(), &way.host(), &[TWO_CHANNELS]).await;
    let client = Client::listening(&mosquitto, &STATUSES).await;
    client.request("flood", names.iter().map(String::as_str)).await;
    daemon.nth_event("fetching", 8).await;
    is_served_before(&mosquitto, &client, &names, &module, 1).await;
    let has_failed = |message: &Message| message.is_status() && message.json()["state"] == "failed";
    assert!(!client.messages().iter().any(has_failed), "a place was free");
}

/// A channel with many transfers gets as many chunks as one with a single transfer.
#[tokio::test]
async fn channels_take_turns_at_the_broker() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let (names, module) = filled(&registry, 30, 300_000, 300_000).await;
    let relay = Relay::before(&mosquitto, 2_000_000).await;
    let variables = [TWO_CHANNELS, ("PROXY_CHUNK_SIZE", "30000"), ("PROXY_MAX_IN_FLIGHT", "64KiB")];
    let _daemon = Daemon::with(&relay.address(), registry.host(), &variables).await;
    let client = Client::listening(&mosquitto, &STATUSES).await;
    client.request("flood", names.iter().map(String::as_str)).await;
    for name in &names {
        client.state(name, "sending").await;
    }
    is_served_before(&mosquitto, &client, &names, &module, names.len() / 2).await;
}
