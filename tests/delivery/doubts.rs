//! Wrong clocks, processes that stand still and damaged disks: no device gets a wrong byte.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::Arc;

use propeller_proxy::util::clock::Time;

use super::restarts::{CHUNKS, RATE, SIZE, TOTAL_CHUNKS, a_tag_moves_during_a_restart, versions};
use crate::support::clients::client::{Client, EVERYTHING, Message};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::faults::clock;
use crate::support::faults::relay::Relay;
use crate::support::points::{Point, at_random_points};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::store::find;
use crate::support::{digest, wasm_of_size};

/// A gateway without a battery starts ten years or ten minutes behind, or ahead, and is restarted when its clock is right; its
/// tag moves meanwhile.
#[tokio::test]
async fn a_wrong_clock_mixes_no_versions() {
    let registry = DockerRegistry::start().await;
    let (versions, library) = (versions(), clock::library());
    at_random_points(TOTAL_CHUNKS, 8, |point: Point| {
        let (registry, versions, library) = (&registry, &versions, &*library);
        async move {
            let offset = ["-10y", "-600s", "+600s", "+10y"][(point.index % 4) as usize];
            let wrong = [CHUNKS, (clock::PRELOAD, library), ("FAKETIME", offset), clock::ONLY_THE_SYSTEMS];
            let site = Site::behind_relay(registry.host(), RATE, &wrong).await;
            let year = site.daemon().event("subscribed").await["timestamp"].to_string();
            let this_year = Time::of_system().to_string();
            assert_eq!(year[1..5] != this_year[..4], offset.ends_with('y'), "the clock of the daemon: {year}");
            let right = [(clock::PRELOAD, "")];
            a_tag_moves_during_a_restart((site, &right), registry, versions, &point).await;
        }
    })
    .await;
}

/// Its bytes are changed in place while it is sent: none of them is published, and the device gets its module.
#[tokio::test]
async fn a_module_that_is_damaged_while_it_is_sent_is_fetched_again() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(SIZE);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    at_random_points(TOTAL_CHUNKS / 2, 6, |point: Point| {
        let (registry, module) = (&registry, &module);
        async move {
            let site = Site::behind_relay(registry.host(), RATE, &[CHUNKS]).await;
            let mut task = site.task("add");
            task.has(point.chunks.max(1)).await;
            let stored = || find(site.store(), &digest(module)).expect("the blob is in the store");
            let path = stored();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("make the blob writable");
            let file = File::options().write(true).open(&path).expect("open the blob");
            let (metadata, offset) = (file.metadata().expect("its times"), SIZE as u64 - 50_000);
            file.write_all_at(&[0xee; 16], offset).expect("change the blob");
            file.set_modified(metadata.modified().expect("its time")).expect("hide the change");
            let assembled = task.module().await;
            assert!(assembled.as_deref() == Some(module), "{point}\n{}", site.log());
            assert_eq!(site.events("blob-damaged").len(), 1, "{point}\n{}", site.log());
            let mut sound = vec![0; 16];
            let again = File::open(stored()).expect("it is in the store again");
            again.read_exact_at(&mut sound, offset).expect("read it");
            assert!(sound == module[module.len() - 50_000..][..16], "{point}: it is still damaged");
        }
    })
    .await;
}

/// A replica stands still while another one sends what its tag means now. When it goes on, it sends nothing of the old version.
#[tokio::test]
async fn a_replica_that_stood_still_sends_nothing_of_what_another_has_replaced() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let versions = versions();
    registry.pusher().wasm("add", "latest", versions[0].clone()).await;
    let relay = Relay::before(&mosquitto, RATE).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let group = [("PROXY_SHARE_GROUP", "replicas"), ("PROXY_LOG_LEVEL", "debug"), CHUNKS];
    let one =
        Daemon::with(&relay.address(), registry.host(), &[&group[..], &[("PROXY_INSTANCE_ID", "one")]].concat()).await;
    let first = Arc::new(connect(&mosquitto).await);
    let mut task = Task::start(&first, "add");
    task.has(30).await;
    one.signal("STOP").await;
    let address = mosquitto.address();
    let two = Daemon::with(&address, registry.host(), &[&group[..], &[("PROXY_INSTANCE_ID", "two")]].concat()).await;
    registry.pusher().wasm("add", "latest", versions[1].clone()).await;
    let second = Arc::new(connect(&mosquitto).await);
    let module = Task::start(&second, "add").module().await;
    assert!(module.as_deref() == Some(&versions[1][..]), "two:\n{}", two.log());
    client.state("add", "sent").await;
    // The broker ends its connection for requests after 12 s: it is longer than a lease.
    let is_offline = |told: &Message| told.topic.ends_with("/proxy/one") && told.json()["online"] == false;
    client.finds("its will", |told| told.iter().any(is_offline).then_some(())).await;
    let before = client.chunks("add").len();
    one.signal("CONT").await;
    // Its next message of its own comes behind all that the other one published.
    one.event("yielded").await;
    client.received_all().await;
    let chunks: Vec<_> = client.chunks("add").iter().map(Message::json).collect();
    let old = chunks[before..].iter().filter(|chunk| chunk["total_chunks"] == chunks[0]["total_chunks"]).count();
    // What the connection had taken before does not go out.
    assert_eq!(old, 0, "chunks of the old version\none:\n{}", one.log());
    if let Some(module) = task.module_so_far() {
        assert!(versions.iter().any(|version| *version == module), "a mixture");
    }
}
