//! Links that are slow, stall and break carry a module all the same.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::support::faults::relay::{Relay, UNLIMITED};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// Messages that take longer than broker and proxy otherwise wait for each other. The first, of 34 s, is taken at once
/// by the buffers of the system; the second, of 47 s, has to be written for most of that time.
#[tokio::test]
async fn a_message_that_takes_half_a_minute_arrives() {
    let registry = DockerRegistry::start().await;
    tokio::join!(one_message(&registry, 500_000, 20_000), one_message(&registry, 7_000_000, 200_000));
}

/// Delivers a module of `bytes` as one message at `rate` bytes a second, without a new connection.
async fn one_message(registry: &DockerRegistry, bytes: usize, rate: u32) {
    let (name, module) = (format!("size-{bytes}"), wasm_of_size(bytes));
    registry.pusher().wasm(&name, "latest", module.clone()).await;
    let mosquitto = Mosquitto::start().await;
    let relay = Relay::narrow(format!("127.0.0.1:{}", mosquitto.port()));
    relay.limit(rate, UNLIMITED);
    let site = Site::behind(relay, mosquitto, registry.host(), &[("PROXY_CHUNK_SIZE", &bytes.to_string())]).await;
    let assembled = site.task(&name).module().await;
    let (up, log) = (site.relay().up(), site.log());
    assert!(assembled.as_deref() == Some(&module[..]), "{bytes} bytes: {up} bytes went up\n{log}");
    site.daemon().event("delivered").await;
    assert_eq!(site.events("subscribed").len(), 1, "{bytes} bytes\n{}", site.log());
    assert_eq!(site.proplet().tally().stored, 1);
}

/// A cut each 0.7 s until the module is there, at every QoS: what a connection carried counts, and the next one goes on from
/// there.
#[tokio::test]
async fn a_link_that_is_cut_again_and_again_carries_a_module() {
    /// More than it takes.
    const MAX_CUTS: usize = 60;
    const BETWEEN: Duration = Duration::from_millis(700);
    /// A pass takes five seconds.
    const RATE: u32 = 8_000_000;

    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(30_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let (registry, module) = (registry.host(), &module);
    let trials = ["0", "1", "2"].map(|qos| async move {
        let site = Site::behind_relay(registry, RATE, &[("PROXY_MQTT_QOS", qos)]).await;
        let mut task = site.task("add");
        task.has(1).await;
        let mut cuts = 0;
        while task.progress().0 < task.progress().1 {
            assert!(cuts < MAX_CUTS, "QoS {qos}: {:?}\n{}", task.progress(), site.log());
            sleep(BETWEEN).await;
            site.relay().cut().await;
            cuts += 1;
        }
        assert!(cuts > 5, "QoS {qos}: the link is so fast that {cuts} cuts prove nothing");
        assert!(task.module().await.as_deref() == Some(module), "QoS {qos}\n{}", site.log());
    });
    join_all(trials).await;
}

/// A link that moves nothing for some seconds, as radio links do, is kept.
#[tokio::test]
async fn a_stalled_link_is_kept() {
    const STALLS: u64 = 2;
    const STALL: Duration = Duration::from_secs(5);

    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(6_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::behind_relay(registry.host(), 4_000_000, &[]).await;
    let mut task = site.task("add");
    for stall in 1..=STALLS {
        task.has(3 * stall).await;
        site.relay().stall(true);
        sleep(STALL).await;
        site.relay().stall(false);
    }
    assert!(task.module().await.as_deref() == Some(&module[..]), "{}", site.log());
    assert_eq!(site.events("subscribed").len(), 1, "{}", site.log());
    assert_eq!(site.proplet().tally().stored, 12);
}
