//! A request for a module that is being sent joins the transfer, at the cost of the chunks that its device missed.

use std::sync::Arc;

use bytes::Bytes;

use crate::support::clients::log::events;
use crate::support::clients::proplet::{chunks_received, connect, receives};
use crate::support::clients::task::Task;
use crate::support::points::{Point, at_random_points};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

const TOTAL_CHUNKS: u64 = 120;
const CHUNK_SIZE: u64 = 10_000;
const CHUNKS: (&str, &str) = ("PROXY_CHUNK_SIZE", "10000");
/// A pass takes two seconds.
const RATE: u32 = 800_000;
/// Bytes of a message without its topic and header: a chunk in base64.
const MIN_MESSAGE: u64 = CHUNK_SIZE / 3 * 4;
/// Messages under way at QoS 2.
const WINDOW: u64 = 20;
const AT_ONCE: usize = 20;

/// A registry and the module in it, larger than those whose passes nobody counts.
async fn registry() -> (DockerRegistry, Bytes) {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    (registry, module)
}

/// Returns the chunks that it took to serve so many requests, once they are served.
fn sent(log: &str, requests: u64) -> Option<u64> {
    let delivered = events(log, "delivered");
    let sum = |field: &str| delivered.iter().filter_map(|entry| entry[field].as_u64()).sum::<u64>();
    (sum("requests") >= requests).then(|| sum("sent_chunks"))
}

/// Returns whether a second request has arrived, joining the first or not.
fn second_request(log: &str) -> Option<()> {
    (events(log, "requested").len() + events(log, "joined").len() >= 2).then_some(())
}

#[tokio::test]
async fn a_late_request_joins_the_running_pass_and_costs_the_missed_chunks() {
    let (registry, module) = registry().await;
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, module) = (registry.host(), &module);
        async move {
            let site = Site::behind_relay(registry, RATE, &[CHUNKS]).await;
            let bystander = connect(site.mosquitto()).await;
            let mut first = site.task("add");
            first.has(point.chunks).await;
            let joiner = Arc::new(connect(site.mosquitto()).await);
            let mut second = Task::start(&joiner, "add");
            site.daemon().finds("second request", second_request).await;
            let missed = site.relay().up() / MIN_MESSAGE + WINDOW;

            for task in [&mut first, &mut second] {
                assert!(task.module().await.as_deref() == Some(module), "{point}\n{}", site.log());
            }
            let sent = site.daemon().finds("delivery of both", |log| sent(log, 2)).await;
            // Sooner than the repetition for two tasks of one device, which begins after some seconds.
            receives(&bystander, sent).await;
            assert_eq!(chunks_received(&bystander), sent, "{point}\n{}", site.log());
            let allowed = TOTAL_CHUNKS + missed.min(TOTAL_CHUNKS);
            assert!(sent <= allowed, "{point}: {sent} chunks, where {missed} were missed\n{}", site.log());
        }
    })
    .await;
}

/// The first task that finds the module takes it away from the other, which requested it at any time since.
#[tokio::test]
async fn two_tasks_of_one_device_both_get_the_module() {
    let (registry, module) = registry().await;
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, module) = (registry.host(), &module);
        async move {
            let site = Site::behind_relay(registry, RATE, &[CHUNKS]).await;
            let mut first = site.task("add");
            first.has(point.chunks).await;
            let mut second = site.task("add");
            for task in [&mut first, &mut second] {
                assert!(task.module().await.as_deref() == Some(module), "{point}\n{}", site.log());
            }
        }
    })
    .await;
}
