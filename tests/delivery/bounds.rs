//! The bounds: what exceeds one waits, or is rejected with an error, and nothing else suffers from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use propeller_proxy::device::Proplet;

use crate::support::clients::client::{ANSWERS, Client, STATUSES};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::daemon::{CHANNEL, DOMAIN};
use crate::support::clients::proplet::connect_on;
use crate::support::clients::task::Task;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::{Variable, wasm_of_size};

/// Two channels of the tests' domain.
const TWO_CHANNELS: Variable<'_> = ("PROXY_CHANNEL_ID", "a,b");

/// Requests a module, and waits for the nth status `sent`.
async fn served(client: &Client, proplet: &Proplet, app_name: &str, times: usize) -> Option<Vec<u8>> {
    let module = proplet.request(app_name).await;
    client.state_again(app_name, "sent", times).await;
    module
}

/// A small module requested during a very large transfer is complete when little of the large one is through.
#[tokio::test]
async fn a_small_module_overtakes_a_very_large_one() {
    const LARGE_CHUNKS: u64 = 293;
    let registry = DockerRegistry::start().await;
    let small = wasm_of_size(100_000);
    registry.pusher().wasm("large", "latest", wasm_of_size(150_000_000)).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    let site = Site::behind_relay(registry.host(), 20_000_000, &[]).await;
    let mut large = site.task("large");
    large.has(1).await;
    assert_eq!(large.progress().1, LARGE_CHUNKS);
    assert!(site.proplet().request("small").await.is_some_and(|module| module == small), "{}", site.log());
    // What was on its way goes first: 8 MiB, which is half a second.
    let (chunks, _) = large.progress();
    assert!(chunks < LARGE_CHUNKS / 2, "the small module came after {chunks} chunks of the large one");
}

#[tokio::test]
async fn requests_over_the_limit_are_rejected_and_the_others_served() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_000_000);
    for name in ["one", "two", "three"] {
        registry.pusher().wasm(name, "latest", module.clone()).await;
    }
    for (limit, open, refused) in [("1", &["one"][..], &["two", "three"][..]), ("2", &["one", "two"], &["three"])] {
        // Slow enough that the first requests are open when the others come.
        let site = Site::behind_relay(registry.host(), 500_000, &[("PROXY_MAX_REQUESTS", limit)]).await;
        let client = Client::listening(site.mosquitto(), &STATUSES).await;
        let mut tasks = Vec::new();
        for name in open {
            tasks.push(site.task(name));
            client.state(name, "queued").await;
        }
        for name in refused {
            client.request(CHANNEL, [*name]).await;
            let failure = client.state(name, "failed").await;
            assert_eq!(failure["error"]["code"], "overloaded", "{failure}");
        }
        for (task, name) in tasks.iter_mut().zip(open) {
            assert!(task.module().await.is_some_and(|served| served == module), "{name}\n{}", site.log());
            client.state(name, "sent").await;
        }
        // Now there is room for those that were refused.
        site.delivers(refused[0], &module).await;
    }
}

/// What a channel gets is bounded in time, each channel for itself.
#[tokio::test]
async fn the_rate_of_a_channel_is_bounded() {
    /// What 600,000 bytes take, a third more in base64, without the second whose bytes may go at once.
    const LEAST: Duration = Duration::from_secs(800 / 200 - 1);
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let (large, small) = (wasm_of_size(600_000), wasm_of_size(40_000));
    registry.pusher().wasm("large", "latest", large.clone()).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    let variables = [TWO_CHANNELS, ("PROXY_PUBLISH_RATE", "200kB"), ("PROXY_CHUNK_SIZE", "20000")];
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &variables).await;
    let on_a = Arc::new(connect_on(&mosquitto, (DOMAIN, "a"), None).await);
    let on_b = connect_on(&mosquitto, (DOMAIN, "b"), None).await;
    let begin = Instant::now();
    let mut bounded = Task::start(&on_a, "large");
    bounded.has(1).await;
    assert!(on_b.request("small").await.is_some_and(|module| module == small), "{}", daemon.log());
    let (chunks, total_chunks) = bounded.progress();
    assert!(chunks < total_chunks, "the other channel had to wait");
    assert!(bounded.module().await.is_some_and(|module| module == large), "{}", daemon.log());
    assert!(begin.elapsed() >= LEAST, "all was there after {:?}", begin.elapsed());
}

/// Without a budget for repeats, everybody gets the first copy, and nobody a second one.
#[tokio::test]
async fn with_a_repeat_budget_of_zero_only_first_passes_are_sent() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "1.0", module.clone()).await;
    let other = wasm_of_size(1001);
    registry.pusher().wasm("add", "1.1", other.clone()).await;
    registry.pusher().wasm("add", "alias", module.clone()).await;
    let variables = [TWO_CHANNELS, ("PROXY_MAX_REPEATS", "0")];
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &variables).await;
    for channel in ["a", "b"] {
        let status = format!("m/{DOMAIN}/c/{channel}/registry/status");
        let client = Client::listening(&mosquitto, &[&status, ANSWERS[1]]).await;
        let proplet = connect_on(&mosquitto, (DOMAIN, channel), None).await;
        let host = registry.host();
        for (name, module) in [("add:1.0", &module), ("add:1.1", &other)] {
            let served = served(&client, &proplet, name, 1).await;
            assert!(served.is_some_and(|served| served == *module), "{}", daemon.log());
            client.request(channel, [name]).await;
            let failure = client.state(name, "failed").await;
            assert_eq!(failure["error"]["code"], "over-budget", "{failure}");
        }
        // Whatever else the first one is called.
        for alias in ["add:alias".to_owned(), format!("oci://{host}/add:1.0"), format!("{host}/add:1.0")] {
            client.request(channel, [&*alias]).await;
            let failure = client.state(&alias, "failed").await;
            assert_eq!(failure["error"]["code"], "over-budget", "{failure}");
        }
        client.received_all().await;
        assert_eq!((client.chunks("add:1.0").len(), client.chunks("add:1.1").len()), (1, 1), "channel {channel}");
    }
}

/// The budget is of bytes as they are published, on top of the first copy.
#[tokio::test]
async fn repeats_stop_when_the_budget_is_spent() {
    const BUDGET: usize = 1 << 20;
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(100_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::start(registry.host(), &[("PROXY_MAX_REPEATS", "1MiB")]).await;
    let client = Client::listening(site.mosquitto(), &ANSWERS).await;
    let mut copies = 0;
    let failure = loop {
        match site.request("add").await {
            Ok(served) => assert!(served == module, "{}", site.log()),
            Err(failure) => break failure,
        }
        copies += 1;
        assert!(copies < 20, "there is no bound\n{}", site.log());
    };
    assert_eq!(failure["code"], "over-budget", "{failure}");
    client.received_all().await;
    let sizes: Vec<_> = client.chunks("add").iter().map(|chunk| chunk.payload.len()).collect();
    assert_eq!(sizes.len(), copies);
    assert!(sizes[1..].iter().sum::<usize>() <= BUDGET, "{copies} copies were served");
    assert!(sizes.iter().sum::<usize>() > BUDGET, "only {copies} copies were served");
}

/// Two passes of a large module may follow each other; the next one has to wait, and covers all requests meanwhile.
#[tokio::test]
async fn passes_of_a_large_module_are_spaced() {
    const CHUNKS: usize = 3;
    /// What 20 in a minute are apart, 3 s, and what two clocks may differ by.
    const SPACE: Duration = Duration::from_millis(3000 - 100);
    let registry = DockerRegistry::start().await;
    let (large, small) = (wasm_of_size(1_200_000), wasm_of_size(1000));
    registry.pusher().wasm("large", "latest", large.clone()).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    let site = Site::start(registry.host(), &[("PROXY_MAX_PASSES", "20")]).await;
    let client = Client::listening(site.mosquitto(), &[ANSWERS[1], STATUSES[1]]).await;
    let begin = Instant::now();
    for times in 1..=2 {
        let module = served(&client, site.proplet(), "large", times).await;
        assert!(module.is_some_and(|module| module == large), "{}", site.log());
    }
    let mut waiting = site.task("large");
    waiting.requested().await;
    client.request(CHANNEL, ["large"]).await;
    // Others do not wait.
    site.delivers("small", &small).await;
    assert!(waiting.module().await.is_some_and(|module| module == large), "{}", site.log());
    assert!(begin.elapsed() >= SPACE, "the third pass came after {:?}", begin.elapsed());
    client.state_again("large", "sent", 3).await;
    assert_eq!(client.chunks("large").len(), 3 * CHUNKS, "{}", site.log());
    assert!(client.statuses("large").iter().all(|status| status["state"] != "failed"));
}

#[tokio::test]
async fn passes_of_a_small_module_are_not_spaced() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size((1 << 20) - 1);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::start(registry.host(), &[("PROXY_MAX_PASSES", "1")]).await;
    for _ in 0..5 {
        // A task would not wait for the next minute.
        site.delivers("add", &module).await;
    }
}

/// Brokers drop what a slow device does not take: mosquitto, past 1,000 messages.
#[tokio::test]
async fn a_plan_longer_than_common_broker_queues_logs_a_warning() {
    let registry = DockerRegistry::start().await;
    let (thousand, more) = (wasm_of_size(100_000), wasm_of_size(100_100));
    registry.pusher().wasm("thousand", "latest", thousand.clone()).await;
    registry.pusher().wasm("more", "latest", more.clone()).await;
    let site = Site::start(registry.host(), &[("PROXY_CHUNK_SIZE", "100")]).await;
    site.delivers("thousand", &thousand).await;
    assert!(site.events("long-queue").is_empty(), "{}", site.log());
    site.delivers("more", &more).await;
    site.daemon().event("long-queue").await;
}
