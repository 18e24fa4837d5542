//! A large module: the daemon compared with a bare publisher.
//!
//! Each answers requests on its own channel with the same messages at the same QoS through the same broker to the same
//! subscriber. They alternate, so that other load on the machine affects both. Time runs from just before the request
//! is published until the subscriber has read the last message.

use std::sync::Arc;

use super::module::{self, Reassembly};
use super::publisher;
use super::sample::{Sample, megabytes};
use super::site::{Site, answers, requests};
use crate::support::{digest, wasm_of_size};

/// Size of the module, bytes.
pub const SIZE: usize = 100_000_000;
/// Rounds in which the ceiling and the warm daemon are measured once each.
const ROUNDS: usize = 25;
/// Rounds for each measurement of a cold daemon.
const ROUNDS_A_COLD_ONE: usize = 3;
const APP_NAME: &str = "bench/large";

/// The results at one QoS; rates in MB of module per second.
pub struct Throughput {
    pub qos: u8,
    /// Prepared messages, published by a bare loop.
    pub ceiling: Sample,
    /// The daemon with the module in its store.
    pub warm: Sample,
    /// A daemon that fetches the module first.
    pub cold: Sample,
    /// Processor time of the daemon, user and system, ms per MB of module, warm.
    pub cpu: f64,
}

/// Measures each QoS.
pub async fn measure(site: &mut Site) -> Vec<Throughput> {
    let module = wasm_of_size(SIZE);
    let messages: Arc<[_]> = module::messages(APP_NAME, &module).into();
    let digest = digest(&module);
    site.registry.pusher().wasm(APP_NAME, "latest", module).await;
    let mut measured = Vec::new();
    for qos in 0..=2 {
        measured.push(at(site, qos, &messages, &digest).await);
    }
    measured
}

async fn at(site: &mut Site, qos: u8, messages: &Arc<[Vec<u8>]>, digest: &str) -> Throughput {
    let (chunks, bytes) = (messages.len(), messages.iter().map(Vec::len).sum::<usize>());
    let bare = format!("bare-{qos}");
    publisher::answer(site.mosquitto.port(), &bare, &requests(&bare), answers(&bare), qos, Arc::clone(messages));
    let variables = [
        ("PROXY_MQTT_QOS", ["0", "1", "2"][usize::from(qos)]),
        // By default, the daemon limits repeated requests for one large module.
        ("PROXY_MAX_REPEATS", "1000GiB"),
        ("PROXY_MAX_PASSES", "6000"),
    ];
    let proxy = site.proxy(&variables).await;

    // The first delivery of each is not timed, but every byte is checked.
    for channel in [&bare, &proxy.channel] {
        let mut module = Reassembly::default();
        let arrived = site.request_until(channel, APP_NAME, move |_, message| module.take(message)).await;
        assert_eq!(arrived, digest, "what arrived on {channel}");
    }
    proxy.delivered(1).await;

    let (mut ceiling, mut warm, mut cold) = (Vec::new(), Vec::new(), Vec::new());
    let before = proxy.daemon.cpu_time().as_secs_f64();
    for round in 1..=ROUNDS {
        let (time, published) = site.time(&bare, APP_NAME, chunks).await;
        assert_eq!(published, bytes, "bytes of all messages");
        ceiling.push(time);

        let (time, published) = site.time(&proxy.channel, APP_NAME, chunks).await;
        assert_eq!(published, bytes, "bytes of all messages\n{}", proxy.daemon.log());
        proxy.delivered(1 + round).await;
        warm.push(time);

        if round % ROUNDS_A_COLD_ONE == 0 {
            let fresh = site.proxy(&variables).await;
            let (time, published) = site.time(&fresh.channel, APP_NAME, chunks).await;
            assert_eq!(published, bytes, "bytes of all messages\n{}", fresh.daemon.log());
            fresh.delivered(1).await;
            cold.push(time);
        }
    }
    let cpu = proxy.daemon.cpu_time().as_secs_f64() - before;
    let [ceiling, warm, cold] = [ceiling, warm, cold].map(|times| Sample::rates(SIZE, &times));
    Throughput { qos, ceiling, warm, cold, cpu: cpu * 1e3 / megabytes(SIZE * ROUNDS) }
}
