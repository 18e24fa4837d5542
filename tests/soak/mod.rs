//! The soak: everything at once, for a given time.
//!
//! Twenty stock devices request fifty modules again and again, from two replicas. Tags move; a hostile client floods a
//! channel of its own; a registry that is permitted stays silent. Storms and calms alternate. In a storm something
//! happens to the broker or to the replicas. In a calm, which begins when all of them are there again, every device must
//! get a module that comes after its request; then the next storm begins. At any time:
//!
//! - What a device assembles are the bytes of one version that the tag named, and named since the oldest transfer or
//!   chunk that the request may have met began.
//! - A task gets its module unless its time saw the broker's loss, the loss of both replicas, or more than one fault. So
//!   a task survives one fault of one replica. A task that received every chunk after its request is served as far as
//!   the protocol goes, though the device drops them if it has kept chunks of another version.
//! - Memory, threads, descriptors and disk of both replicas are within bounds.

mod bounds;
mod catalogue;
mod device;
mod hostile;
mod journal;
mod replica;
mod storm;

use std::collections::BTreeMap;
use std::env;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::bounds::{CACHE_SIZE, MODULES_SIZE, Maxima};
use self::catalogue::{CHUNK_SIZE, Catalogue};
use self::device::{Device, Failure, Tally};
use self::hostile::SilentRegistry;
use self::journal::Journal;
use self::replica::Replica;
use self::storm::Servers;
use crate::support::clients::daemon::{DOMAIN, environment, owned};
use crate::support::clients::proplet::connect_on;
use crate::support::random::{Random, SEED, seed};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};

/// Names the length in seconds.
const LENGTH: &str = "SOAK_SECONDS";
const USUAL_LENGTH: Duration = Duration::from_secs(120);
const DEVICES: usize = 20;
/// The part of the deliveries that may be hindered by chunks of another version.
const MOST_HINDERED: u64 = 10;
const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];
/// How long a calm lasts after every device was served, milliseconds.
const CALM: RangeInclusive<u64> = 0..=2000;

#[tokio::test]
async fn soak() {
    let length = env::var(LENGTH).map_or(USUAL_LENGTH, |seconds| Duration::from_secs(seconds.parse().expect(LENGTH)));
    let (seed, start) = (seed(), Instant::now());
    println!("soak: {length:?}, {SEED}={seed}");
    let mut soak = Soak::start(seed).await;
    let failure = soak.run(length).await;
    println!("soak: {:?}, {}", start.elapsed(), soak.summary());
    if let Some(Failure { app_name, reason }) = failure {
        let logs = soak.servers.replicas.each_ref().map(|replica| replica.log_about(&app_name));
        panic!("{reason}\none:\n{}\ntwo:\n{}\n{reason} ({SEED}={seed})", logs[0], logs[1]);
    }
    let (hindered, delivered) = (soak.tally.hindered.load(Relaxed), soak.tally.delivered.load(Relaxed));
    assert!(hindered <= delivered / MOST_HINDERED, "{hindered} of {delivered} tasks had chunks of another version");
    soak.servers.end().await;
}

struct Soak {
    servers: Servers,
    devices: Vec<Arc<Device>>,
    random: Random,
    tally: Arc<Tally>,
    maxima: Arc<Maxima>,
    moves: Arc<AtomicU64>,
    hostile: Arc<AtomicU64>,
    /// What goes on until a check fails.
    checked: JoinSet<Failure>,
    /// What goes on beside.
    others: JoinSet<()>,
    _registries: (DockerRegistry, SilentRegistry),
}

impl Soak {
    async fn start(seed: u64) -> Self {
        let sequence = |number| Random::new(seed, number);
        let (registry, silent) = (DockerRegistry::start().await, SilentRegistry::start().await);
        let catalogue = Arc::new(Catalogue::fill(&registry, &mut sequence(0)));
        let size = catalogue.size();
        assert!(
            (CACHE_SIZE + 1..MODULES_SIZE).contains(&size),
            "nothing is evicted of {size} bytes, or too much is open"
        );
        // As the guide for replicas says: or else the broker drops what they miss while they are away.
        let broker = Mosquitto::with(Options { lines: "max_queued_messages 0", ..Options::default() }).await;
        let replicas = [
            Replica::start(variables("one", &broker, &registry, &silent)).await,
            Replica::start(variables("two", &broker, &registry, &silent)).await,
        ];
        let (tally, journal, maxima) = <(Arc<Tally>, Arc<Journal>, Arc<Maxima>)>::default();
        let (moves, hostile) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (mut checked, mut others) = (JoinSet::new(), JoinSet::new());
        let mut devices = Vec::new();
        for (number, channel) in (0..DEVICES).zip(CHANNELS.into_iter().cycle()) {
            let device = Arc::new(Device {
                name: format!("device {number} on channel {channel}"),
                proplet: connect_on(&broker, (DOMAIN, channel), None).await,
                catalogue: Arc::clone(&catalogue),
                journal: Arc::clone(&journal),
                tally: Arc::clone(&tally),
                busy: Mutex::default(),
            });
            checked.spawn(Arc::clone(&device).works(sequence(100 + number as u64)));
            devices.push(device);
        }
        checked.spawn(Arc::clone(&maxima).watch(replicas.each_ref().map(Replica::footprint)));
        let flooding = connect_on(&broker, (DOMAIN, hostile::CHANNEL), None).await;
        others.spawn(hostile::flood(flooding, silent.host.clone(), Arc::clone(&hostile)));
        let hoping = connect_on(&broker, (DOMAIN, CHANNELS[0]), None).await;
        others.spawn(hostile::hope(hoping, silent.host.clone()));
        others.spawn(catalogue.move_tags(sequence(1), Arc::clone(&moves)));
        let servers = Servers { broker, replicas, journal, random: sequence(2), counts: BTreeMap::new() };
        let random = sequence(3);
        Self {
            servers,
            devices,
            random,
            tally,
            maxima,
            moves,
            hostile,
            checked,
            others,
            _registries: (registry, silent),
        }
    }

    /// Runs for this long, and until everything has happened once; returns the first failure.
    async fn run(&mut self, length: Duration) -> Option<Failure> {
        let Self { servers, devices, random, checked, others, .. } = self;
        let rounds = async {
            let end = Instant::now() + length;
            loop {
                for kind in servers.deck() {
                    sleep(random.millis(CALM)).await;
                    servers.storm(kind).await;
                    let served = devices.iter().map(|device| device.is_served(random.branch()));
                    try_join_all(served).await?;
                    if Instant::now() >= end && servers.had_everything() {
                        return Ok(());
                    }
                }
            }
        };
        tokio::select! {
            failure = rounds => failure.err(),
            failure = checked.join_next() => Some(failure.expect("devices").expect("a task that does not panic")),
            other = others.join_next() => panic!("{other:?} has ended"),
        }
    }

    /// Returns what happened, in one line.
    fn summary(&self) -> String {
        let Self { tally, moves, hostile, .. } = self;
        format!(
            "{tally}; {} hostile requests, {} moves of tags; {}; at most {}",
            hostile.load(Relaxed),
            moves.load(Relaxed),
            self.servers.summary(),
            self.maxima.summary(),
        )
    }
}

/// Returns the environment of a replica.
fn variables(
    name: &str,
    broker: &Mosquitto,
    registry: &DockerRegistry,
    silent: &SilentRegistry,
) -> Vec<(&'static str, String)> {
    let mut variables = environment(&broker.address(), registry.host());
    variables.extend(owned(&[
        ("PROXY_CHANNEL_ID", &[&CHANNELS[..], &[hostile::CHANNEL]].concat().join(",")),
        ("PROXY_REGISTRY_ALLOW", &silent.host),
        ("PROXY_SHARE_GROUP", "replicas"),
        ("PROXY_INSTANCE_ID", name),
        ("PROXY_CHUNK_SIZE", &CHUNK_SIZE.to_string()),
        ("PROXY_CACHE_SIZE", &CACHE_SIZE.to_string()),
        // Slow enough that things happen during transfers.
        ("PROXY_PUBLISH_RATE", "1MB"),
    ]));
    variables
}
