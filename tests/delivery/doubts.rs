//! Wrong clocks, processes that stand still and damaged disks: no device gets a wrong byte.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use propeller_proxy::embedded::sample;
use propeller_proxy::util::clock::Time;

use crate::support::clients::client::{Client, EVERYTHING, Message};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::faults::relay::Relay;
use crate::support::points::{Point, at_random_points};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::{Variable, digest, wasm_of_size};

const TOTAL_CHUNKS: u64 = 120;
const CHUNKS: Variable = ("PROXY_CHUNK_SIZE", "10000");
const SIZE: usize = 1_200_000;
/// A pass takes two seconds.
const RATE: u32 = 800_000;

/// The two modules that a tag means before and after it moves: of the same size.
fn versions() -> [Bytes; 2] {
    [1, 2].map(|seed| sample::noise(SIZE, seed).into())
}

/// The library of Debian's faketime that shifts the system's clock of a program, but not its monotonic clocks.
fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").expect("the system's libraries").flatten().map(|entry| entry.path());
    let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    library.expect("faketime is installed").display().to_string()
}

/// A gateway without a battery starts ten years or ten minutes behind, or ahead, and is restarted when its clock is right; its
/// tag moves meanwhile.
#[tokio::test]
async fn a_wrong_clock_mixes_no_versions() {
    let registry = DockerRegistry::start().await;
    let (versions, library) = (versions(), faketime());
    at_random_points(TOTAL_CHUNKS, 8, |point: Point| {
        let (registry, versions, library) = (&registry, &versions, &*library);
        async move {
            let repository = format!("clock-{}", point.index);
            registry.pusher().wasm(&repository, "latest", versions[0].clone()).await;
            let offset = ["-10y", "-600s", "+600s", "+10y"][(point.index % 4) as usize];
            let wrong = [CHUNKS, ("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
            let mut site = Site::behind_relay(registry.host(), RATE, &wrong).await;
            let year = site.daemon().event("subscribed").await["timestamp"].to_string();
            let this_year = Time::of_system().to_string();
            assert_eq!(year[1..5] != this_year[..4], offset.ends_with('y'), "the clock of the daemon: {year}");
            let bystander = Arc::new(connect(site.mosquitto()).await);
            let mut asked_before = site.task(&repository);
            asked_before.has(point.chunks).await;
            site.kill().await;
            registry.pusher().wasm(&repository, "latest", versions[1].clone()).await;
            site.restart(&[("LD_PRELOAD", "")]).await;
            let newcomer = Arc::new(connect(site.mosquitto()).await);
            let mut later = [&bystander, &newcomer].map(|proplet| Task::start(proplet, &repository));
            for (who, task) in ["who asked before", "the bystander", "the newcomer"]
                .into_iter()
                .zip([&mut asked_before].into_iter().chain(&mut later))
            {
                let module = task.module().await;
                let module = module.unwrap_or_else(|| panic!("{point}, {offset}: {who} got nothing\n{}", site.log()));
                assert!(versions.iter().any(|version| *version == module), "{point}, {offset}: {who} got a mixture");
            }
        }
    })
    .await;
}

/// The file of a blob in the store of a site.
fn stored(site: &Site, module: &[u8]) -> PathBuf {
    let name = digest(module).replace("sha256:", "");
    let scopes = fs::read_dir(site.in_store("v1")).expect("the store").flatten().map(|entry| entry.path());
    scopes.map(|scope| scope.join("blobs").join(&name)).find(|path| path.exists()).expect("the blob is in the store")
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
            let path = stored(&site, module);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("make the blob writable");
            let file = File::options().write(true).open(&path).expect("open the blob");
            let (metadata, offset) = (file.metadata().expect("its times"), SIZE as u64 - 50_000);
            file.write_all_at(&[0xee; 16], offset).expect("change the blob");
            file.set_modified(metadata.modified().expect("its time")).expect("hide the change");
            let assembled = task.module().await;
            assert!(assembled.as_deref() == Some(module), "{point}\n{}", site.log());
            assert_eq!(site.events("blob-damaged").len(), 1, "{point}\n{}", site.log());
            let mut sound = vec![0; 16];
            let again = File::open(stored(&site, module)).expect("it is in the store again");
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
    // What the connection had taken before goes out: the messages in flight.
    assert!(old <= 20, "{old} chunks of the old version\none:\n{}", one.log());
    if let Some(module) = task.module_so_far() {
        assert!(versions.iter().any(|version| *version == module), "a mixture");
    }
}
