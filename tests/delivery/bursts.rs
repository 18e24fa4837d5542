//! Many requests at once: all are served, with no more work than needed, and malformed ones cost little.

use std::collections::{HashMap, HashSet};

use base64_simd::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use propeller_proxy::embedded::sample;

use crate::support::clients::client::{ANSWERS, Client, STATUSES, request, request_topic};
use crate::support::clients::daemon::{CHANNEL, Daemon};
use crate::support::clients::proplet::connect;
use crate::support::faults::faulty_registry::FaultyRegistry;
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// More than may be open, queued or remembered of most things, all at once.
#[tokio::test]
async fn a_thousand_modules_are_delivered() {
    const MODULES: u64 = 1000;
    let module = |number| sample::noise(50_000, number);
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.fill("add", (0..MODULES).map(|number| (number.to_string(), module(number))));
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let client = Client::listening(&mosquitto, &[ANSWERS[1]]).await;
    let names: Vec<_> = (0..MODULES).map(|number| format!("add:{number}")).collect();
    client.request(CHANNEL, names.iter().map(String::as_str)).await;
    client.finds("a message for each request", |messages| (messages.len() >= names.len()).then_some(())).await;
    client.received_all().await;
    let messages = client.messages();
    assert_eq!(messages.len(), names.len(), "some came twice");
    let numbers: HashMap<_, _> = names.iter().zip(0..).collect();
    let mut delivered = HashSet::new();
    for message in messages {
        let chunk = message.json();
        assert_eq!((&chunk["chunk_idx"], &chunk["total_chunks"]), (&0.into(), &1.into()), "{}", message.app_name);
        let data = chunk["data"].as_str().and_then(|data| STANDARD.decode_to_vec(data).ok());
        assert!(data.is_some_and(|data| data == module(numbers[&message.app_name])), "{}", message.app_name);
        assert!(delivered.insert(message.app_name), "some came twice");
    }
    assert!(!daemon.log().contains("\"level\":\"ERROR\""), "{}", daemon.log());
}

/// Five devices request one module a hundred times each, before it can be fetched.
#[tokio::test]
async fn five_hundred_requests_for_one_module_take_one_fetch_and_four_passes() {
    const DEVICES: usize = 5;
    const REQUESTS: usize = 100;
    const CHUNKS: usize = 10;
    let registry = FaultyRegistry::start(wasm_of_size(5_000_000), []).await;
    let way_there = Relay::start(registry.host()).await;
    let mut site = Site::start(&way_there.host(), &[]).await;
    let bystander = Client::listening(site.mosquitto(), &[ANSWERS[1]]).await;
    way_there.stall(true);
    let connections = (0..DEVICES).map(|_| connect(site.mosquitto()));
    let devices = join_all(connections).await;
    let served = devices.iter().map(async |device| {
        for _ in 1..REQUESTS {
            device.publish_request("add").await;
        }
        device.request("add").await
    });
    let goes_on = async {
        site.daemon().nth_event("joined", DEVICES * REQUESTS - 1).await;
        way_there.stall(false);
    };
    let (served, ()) = tokio::join!(join_all(served), goes_on);
    assert!(served.iter().all(|module| module.as_deref() == Some(registry.module())), "{}", site.log());
    site.daemon().nth_event("repeating", 3).await;
    // What is being sent is finished.
    site.stop().await;
    bystander.received_all().await;
    let heard = bystander.chunks("add").len();
    assert!((CHUNKS..=4 * CHUNKS).contains(&heard), "{heard} chunks were sent");
    assert_eq!(registry.fetches(), 1);
}

/// What nobody can read is reported a few times a second, and takes no memory.
#[tokio::test]
async fn ten_thousand_malformed_requests_take_little_memory_and_few_reports() {
    const REQUESTS: usize = 10_000;
    const GROWTH: u64 = 10 << 20;
    /// Failures of unreadable requests in one second; the end of one and the start of the next may meet.
    const REPORTS: usize = 20;
    // Or else it drops what the daemon has not read yet, the request at the end perhaps.
    let options = Options { lines: "max_queued_messages 0", ..Options::default() };
    let (mosquitto, registry) = (Mosquitto::with(options).await, DockerRegistry::start().await);
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "1.0", module.clone()).await;
    registry.pusher().wasm("add", "1.1", module.clone()).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet = connect(&mosquitto).await;
    assert!(proplet.request("add:1.0").await.is_some_and(|served| served == module), "{}", daemon.log());
    let client = Client::listening(&mosquitto, &STATUSES).await;
    let before = daemon.peak_memory();
    let malformed: [Bytes; 10] = [
        "".into(),
        "add".into(),
        "{}".into(),
        "\u{0}".into(),
        r#"{"app_name": 1}"#.into(),
        r#"{"app_name": ""}"#.into(),
        Bytes::from_static(b"{\"app_name\": \"\xff\"}"),
        "[".repeat(4000).into(),
        format!(r#"{{"app_name": "{}"}}"#, "a".repeat(5000)).into(),
        request("NOT A NAME"),
    ];
    client.publish_all(&request_topic(CHANNEL), malformed.into_iter().cycle().take(REQUESTS)).await;
    assert!(proplet.request("add:1.1").await.is_some_and(|served| served == module));
    let growth = daemon.peak_memory() - before;
    assert!(growth < GROWTH, "they took {} KiB", growth >> 10);

    client.state("add:1.1", "sent").await;
    let mut reports: HashMap<String, usize> = HashMap::new();
    for status in client.statuses("") {
        assert_eq!((&status["state"], &status["error"]["code"]), (&"failed".into(), &"bad-request".into()));
        let second = status["time"].as_str().and_then(|time| time.get(..19)).expect("a time").to_owned();
        *reports.entry(second).or_default() += 1;
    }
    assert!(!reports.is_empty() && reports.values().all(|count| *count <= REPORTS), "{reports:?}");
}
