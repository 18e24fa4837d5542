//! The service on embedded servers: every outcome is counted once, its readiness, its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use tokio::runtime;
use tokio::time::timeout;

use super::*;
use crate::config::{self, Sources};
use crate::device::Proplet;
use crate::embedded::broker::{Access, Broker};
use crate::embedded::layout::Layout as ImageLayout;
use crate::embedded::registry::Registry;
use crate::embedded::sample;
use crate::mqtt::status::Status;
use crate::mqtt::topic::{App, Channel, Layout, Role};
use crate::mqtt::{Connection, ConnectionOptions, Message};
use crate::oci::artifact::Shape;
use crate::service::Service;
use crate::telemetry::events::What;
use crate::util::sync::lock;

/// How long something may take that is only awaited.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(broker: &Broker, registry: &str, folder: &Path, more: &[(&str, &str)]) -> ServiceOptions {
    config::load::<ServiceOptions>(&Sources::of_variables(|name| {
        let more = more.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).into());
        more.or_else(|| match name {
            "PROXY_MQTT_ADDRESS" => Some(broker.address().into()),
            "PROXY_REGISTRY_URL" => Some(registry.into()),
            "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" => Some("x".into()),
            "PROXY_CACHE_DIR" | "PROXY_STATE_DIR" => Some(folder.join(name).into()),
            _ => None,
        })
    }))
    .unwrap()
}

fn channel() -> Channel {
    Channel { domain: "x".into(), id: "x".into() }
}

fn app(name: &str) -> App {
    App { channel: Arc::new(channel()), layout: Layout::Plain, name: name.into() }
}

/// Counters by name and labels.
#[derive(Default, Clone)]
struct Counters(Arc<Mutex<BTreeMap<String, u64>>>);

struct Count(Counters, String);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *lock(&(self.0).0).entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        lock(&(self.0).0).insert(self.1.clone(), value);
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        let name = key.name().trim_start_matches("propeller_proxy_");
        Counter::from_arc(Arc::new(Count(self.clone(), format!("{name} {}", labels.join(" ")).trim().to_owned())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Drives every outcome that one proxy can have, and compares what counters, events and status messages say of it.
#[tokio::test]
async fn every_outcome_is_counted_once_and_said_alike() {
    let counters = Counters::default();
    // All tasks of this runtime are on this thread.
    let _recorder = set_default_local_recorder(&counters);
    let folder = tempfile::tempdir().unwrap();
    let layout = ImageLayout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    let broker = Broker::start(Access::Anonymous).await.unwrap();
    layout.push("add", "1", &sample::noise(5000, 1), Shape::WasmToOci).unwrap();
    layout.push("text", "1", b"no module", Shape::WasmToOci).unwrap();

    let config =
        config(&broker, &registry.host(), folder.path(), &[("PROXY_CHUNK_SIZE", "1000"), ("PROXY_MAX_REQUESTS", "2")]);
    let mqtt = config.mqtt.clone();
    let statuses = Arc::<Mutex<Vec<(String, String, Option<String>)>>>::default();
    let received = Arc::clone(&statuses);
    let subscriber = ConnectionOptions::new("status", vec![channel().topic(Layout::Plain, Role::Status)]);
    let subscriber = Connection::establish(&mqtt, subscriber, move |Message { payload, .. }: Message<'_>| {
        let Status { app_name, state, error, .. } = serde_json::from_slice(&payload).unwrap();
        let state = serde_json::to_value(state).unwrap().as_str().unwrap().to_owned();
        lock(&received).push((app_name, state, error.map(|error| error.code)));
    });
    let subscriber = subscriber.await.unwrap();
    let (service, task) = Service::open(config).await.unwrap();
    let (mut events, stop) = (service.telemetry().watch(), CancellationToken::new());
    let running = tokio::spawn(task.run(stop.clone()));
    service.ready().wait_for(|is_ready| *is_ready).await.unwrap();
    let proplet = Proplet::connect(&mqtt, &channel(), Layout::Plain).await.unwrap();

    // sent, twice: one request opens the transfer, one joins it.
    let (first, second) = tokio::join!(service.deliver(app("add:1")), service.deliver(app("add:1")));
    assert_eq!((first.unwrap().requests, second.unwrap().requests), (2, 2));
    // failed: what is fetched is no module; there is no such tag.
    assert_eq!(service.deliver(app("text:1")).await.unwrap_err().code(), "not-wasm");
    assert_eq!(service.deliver(app("add:2")).await.unwrap_err().code(), "unknown-image");
    // withdrawn: nobody waits any more.
    registry.fail_next(503, 3);
    assert!(timeout(Duration::from_millis(100), service.deliver(app("add:3"))).await.is_err());
    // rejected: two requests are open, and the third is one too many.
    registry.fail_next(503, 3);
    let open = [app("add:4"), app("add:4"), app("add:5")].map(|app| service.deliver(app));
    let open = futures_util::future::join_all(open).await;
    assert_eq!(
        open.iter().map(|outcome| outcome.as_ref().unwrap_err().code()).collect::<Vec<_>>(),
        ["unknown-image", "unknown-image", "overloaded"]
    );
    // unreadable.
    proplet.publish("{}".into()).await;
    let is_unreadable = || lock(&statuses).iter().any(|(_, _, code)| code.as_deref() == Some("bad-request"));
    timeout(PATIENCE, async {
        while !is_unreadable() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();

    let counted = lock(&counters.0).clone();
    let of_requests = counted.iter().filter_map(|(name, count)| Some((name.strip_prefix("requests_total ")?, *count)));
    let expected =
        [("bad-request", 1), ("not-wasm", 1), ("overloaded", 1), ("sent", 2), ("unknown-image", 3), ("withdrawn", 1)];
    assert_eq!(of_requests.filter(|(_, count)| *count > 0).collect::<Vec<_>>(), expected);

    let stats = service.telemetry().stats();
    assert_eq!((stats.requests, stats.joined, stats.delivered, stats.repeated), (7, 2, 1, 0));
    assert_eq!(
        (counted["joins_total"], counted["acknowledged_chunks_total"]),
        (stats.joined, stats.acknowledged_chunks)
    );
    assert_eq!(counted["published_chunks_total"], stats.published_chunks);

    let (mut sent, mut failures) = (0, BTreeMap::<String, u64>::new());
    while let Ok(event) = events.try_recv() {
        match event.what {
            What::Sent(_) => sent += 1,
            What::Failed(error) => *failures.entry(error.code().to_owned()).or_default() += 1,
            _ => {}
        }
    }
    assert_eq!(sent, stats.delivered);
    // One a transfer or rejected request; what was withdrawn is no failure.
    let failed: u64 = failures.iter().filter(|(code, _)| *code != "withdrawn").map(|(_, count)| *count).sum();
    assert_eq!(failed, stats.failed);
    let statuses = lock(&statuses).clone();
    assert_eq!(statuses.iter().filter(|(_, state, _)| state == "sent").count() as u64, sent);
    let mut published = BTreeMap::<String, u64>::new();
    for code in statuses.into_iter().filter(|(name, ..)| !name.is_empty()).filter_map(|(.., code)| code) {
        *published.entry(code).or_default() += 1;
    }
    assert_eq!(published, failures, "events and status messages say the same");
    subscriber.close().await;
    proplet.close().await;
    registry.stop().await;
    broker.stop().await;
}

/// Its temporary folders would be left behind otherwise.
#[tokio::test]
async fn the_end_leaves_nothing_behind_and_readiness_says_what_is_wrong() {
    let (broker, folder) = (Broker::start(Access::Anonymous).await.unwrap(), tempfile::tempdir().unwrap());
    // Connections wait to be accepted.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = silent.local_addr().unwrap().to_string();
    let (service, task) = Service::open(config(&broker, &registry, folder.path(), &[])).await.unwrap();
    let (puller, stop) = (Arc::downgrade(&task.puller), CancellationToken::new());
    let running = tokio::spawn(task.run(stop.clone()));
    service.ready().wait_for(|is_ready| *is_ready).await.unwrap();
    let checked = service.readiness(PATIENCE).await.unwrap();
    assert_eq!(checked.checks.map(|(_, check)| check.ok), [true, false, true, true]);
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(puller.upgrade().is_none(), "the handle keeps nothing of the service");
    broker.stop().await;
}

/// The loop waits for a lock that a thread holds, as it would for anything that hangs.
#[tokio::test]
async fn the_pulse_stands_still_while_the_loop_hangs() {
    let (broker, folder) = (Broker::start(Access::Anonymous).await.unwrap(), tempfile::tempdir().unwrap());
    let (service, task) = Service::open(config(&broker, "x", folder.path(), &[])).await.unwrap();
    let (state, stop) = (Arc::clone(&task.state), CancellationToken::new());
    // It may take the timers of its runtime with it.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let running = runtime.spawn(task.run(stop.clone()));
    let mut pulse = service.pulse();
    for _ in 0..2 {
        timeout(5 * TICK, pulse.changed()).await.unwrap().unwrap();
    }
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (holds, held) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _guard = state.block();
        holds.send(()).unwrap();
        let _ = released.recv();
    });
    held.recv().unwrap();
    // One beat may have been past the lock.
    let _ = timeout(2 * TICK, pulse.changed()).await;
    assert!(timeout(3 * TICK, pulse.changed()).await.is_err(), "it goes on");

    drop(release);
    timeout(5 * TICK, pulse.changed()).await.unwrap().unwrap();
    holder.join().unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    runtime.shutdown_background();
    broker.stop().await;
}
