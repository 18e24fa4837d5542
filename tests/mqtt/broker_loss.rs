//! Loss of the broker: unacknowledged chunks are published again, in time for every device that waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::support::clients::proplet::connect_through;
use crate::support::clients::task::Task;
use crate::support::faults::relay::{Relay, UNLIMITED};
use crate::support::points::{Point, at_random_points};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::{path, wasm_of_size};

/// The broker dies at 20 points of a transfer and forgets everything, at every QoS of the chunks.
#[tokio::test]
async fn every_task_completes_after_the_broker_is_killed() {
    const SIZE: usize = 50_000_000;
    const TOTAL_CHUNKS: u64 = 98;
    const AT_ONCE: usize = 7;
    /// A pass takes six seconds.
    const RATE: u32 = 11_000_000;

    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(SIZE);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let store = tempfile::tempdir().expect("a store for all");
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, module, store) = (registry.host(), &module, path(store.path()));
        async move {
            let qos = (point.index % 3).to_string();
            let variables = [("PROXY_CACHE_DIR", store), ("PROXY_MQTT_QOS", &qos)];
            let mut site = Site::behind_relay(registry, RATE, &variables).await;
            let mut task = site.task("add");
            // What the broker alone knows dies with it: a request, too.
            site.daemon().event("verified").await;
            task.has(point.chunks).await;
            site.mosquitto_mut().kill().await;
            let away = Duration::from_millis(point.pick(1000..=3000));
            sleep(away).await;
            site.mosquitto_mut().restart().await;
            let assembled = task.module().await;
            let log = site.log();
            assert!(assembled.as_deref() == Some(module), "{point}, QoS {qos}, back after {away:?}\n{log}");
        }
    })
    .await;
}

/// To the proxy the transfer is done, when the broker dies with what a slow device has not got yet.
#[tokio::test]
async fn a_slow_device_gets_the_rest_after_a_broker_restart() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(6_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let mut site = Site::start(registry.host(), &[]).await;
    let way = Relay::start(format!("127.0.0.1:{}", site.mosquitto().port())).await;
    way.limit(UNLIMITED, 2_000_000);
    let slow = Arc::new(connect_through(&way).await);

    let mut late = Task::start(&slow, "add");
    late.requested().await;
    let mut early = site.task("add");
    assert!(early.module().await.as_deref() == Some(&module[..]), "{}", site.log());
    site.daemon().event("delivered").await;
    let (chunks, total_chunks) = late.progress();
    assert!(chunks < total_chunks || total_chunks == 0, "the slow device has all {total_chunks} chunks");

    site.mosquitto_mut().kill().await;
    // What is under way to the device is lost with the broker.
    way.cut().await;
    sleep(Duration::from_secs(1)).await;
    site.mosquitto_mut().restart().await;
    site.daemon().event("coverage-restarted").await;
    assert!(late.module().await.as_deref() == Some(&module[..]), "{chunks} chunks were there\n{}", site.log());
}

/// A broker that keeps its connections and does nothing is as good as none.
#[tokio::test]
async fn a_frozen_broker_is_detected_and_served_again() {
    const FROZEN: Duration = Duration::from_secs(30);
    const NOTICED: Duration = Duration::from_secs(25);

    let registry = DockerRegistry::start().await;
    let modules = [20_000_000, 1000].map(wasm_of_size);
    registry.pusher().wasm("large", "latest", modules[0].clone()).await;
    registry.pusher().wasm("small", "latest", modules[1].clone()).await;
    // Two seconds and a half for a pass.
    let site = Site::behind_relay(registry.host(), 11_000_000, &[]).await;
    let mut task = site.task("large");
    task.has(10).await;
    site.mosquitto().stop().await;
    let begin = Instant::now();
    tokio::select! {
        _ = site.daemon().event("connection-failed") => {}
        () = sleep_until(begin + NOTICED) => panic!("it was not noticed in {NOTICED:?}\n{}", site.log()),
    }
    sleep_until(begin + FROZEN).await;
    site.mosquitto().cont().await;
    assert!(task.module().await.as_deref() == Some(&modules[0][..]), "{}", site.log());
    site.daemon().nth_event("subscribed", 2).await;
    assert!(site.task("small").module().await.as_deref() == Some(&modules[1][..]), "{}", site.log());
}
