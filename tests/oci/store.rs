//! The store: a damaged blob is never delivered, and the limit of bytes holds.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use propeller_proxy::mqtt::topic::Layout;
use tokio::time::{sleep, timeout};

use crate::support::clients::proplet::connect_at;
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::faults::relay::{Relay, UNLIMITED};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::servers::token_service::TokenRegistry;
use crate::support::shell::{MOUNTING, after, may_mount};
use crate::support::store::{entries, files, find, name};
use crate::support::{digest, login, path, wasm_of_size};

/// Every blob has the digest in its name.
pub(super) fn assert_sound(store: &Path) {
    for file in files(store, "blobs") {
        let actual = digest(&fs::read(&file).expect("read a blob"));
        assert_eq!(actual, format!("sha256:{}", name(&file)), "a wrong blob");
    }
}

/// Returns what the store takes on disk, bytes.
fn disk_usage(store: &Path) -> u64 {
    const BLOCK: u64 = 512;
    let files = [files(store, "blobs"), files(store, "tags"), entries(&store.join("v1/ingest"))].concat();
    files.iter().map(|file| file.metadata().expect("a file of the store").blocks() * BLOCK).sum()
}

/// A registry behind a relay, so that it can be out of reach.
async fn relayed() -> (DockerRegistry, Relay, String) {
    let registry = DockerRegistry::start().await;
    let relay = Relay::start(registry.host()).await;
    let host = relay.host();
    (registry, relay, host)
}

/// Tags, digests, hosts and repositories: whatever the module is called, and in both layouts.
#[tokio::test]
async fn a_hundred_requests_share_one_fetch() {
    const ASKERS: usize = 100;
    let module = wasm_of_size(100_000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    // Answers that take their time find the askers waiting together.
    let relay = Relay::start(registry.host()).await;
    relay.delay(Duration::from_millis(20));
    let host = relay.host();
    let site = Site::start(&host, &[]).await;
    let by_messages = connect_at(site.mosquitto(), Layout::Messages, 2).await;

    let manifest = registry.manifest_digest();
    let app_names: Vec<_> = (0..ASKERS)
        .map(|asker| match asker % 6 {
            0 => format!("add:{asker}"),
            1 => format!("{host}/add:{asker}"),
            2 => format!("oci://{host}/add:{asker}"),
            3 => format!("acme/{asker}/add@{manifest}"),
            4 => format!("{host}/add:{asker}@{manifest}"),
            _ => format!("acme/{asker}/add"),
        })
        .collect();
    let requests = app_names.iter().enumerate().map(|(asker, app_name)| {
        let proplet = if asker / 6 % 2 == 0 { site.proplet() } else { &by_messages };
        async move { (app_name, proplet.request(app_name).await) }
    });
    for (app_name, assembled) in join_all(requests).await {
        assert!(assembled.as_deref() == Some(&module[..]), "{app_name}\n{}", site.log());
    }
    assert_eq!(registry.fetches(), 1);
}

/// Each row: what happens to the file of a blob. Both happen while the daemon runs, and again while it does not.
#[tokio::test]
async fn a_damaged_blob_is_detected_and_fetched_again() {
    type Damage = fn(&Path);
    let accidents: [(&str, Damage); 3] = [
        ("one bit is another", |file| {
            let mut bytes = fs::read(file).expect("read the blob");
            bytes[100] ^= 1;
            overwrite(file, &bytes);
        }),
        ("its end is missing", |file| {
            let bytes = fs::read(file).expect("read the blob");
            overwrite(file, &bytes[..bytes.len() / 2]);
        }),
        ("another file is in its place", |file| {
            let bytes = fs::read(file).expect("read the blob");
            fs::remove_file(file).expect("remove the blob");
            fs::write(file, vec![b'x'; bytes.len()]).expect("write another");
        }),
    ];
    let module = wasm_of_size(1_000_000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let by_digest = format!("add@{}", registry.manifest_digest());
    let mut site = Site::start(registry.host(), &[]).await;
    site.delivers(&by_digest, &module).await;
    for (what, damage) in accidents {
        for blob in [registry.digest(), &registry.manifest_digest()] {
            for restart in [false, true] {
                let (before, noticed) = (registry.seen().len(), site.events("blob-damaged").len());
                if restart {
                    site.kill().await;
                }
                damage(&find(site.store(), blob).expect("the blob is in the store"));
                if restart {
                    site.restart(&[]).await;
                }
                site.delivers(&by_digest, &module).await;
                let asked = registry.requests_since(before);
                let context = format!("{what} in {blob}, restarted: {restart}\n{}", site.log());
                assert!(asked.len() == 1 && asked[0].ends_with(blob), "{asked:?}: {context}");
                // The log begins anew with the process.
                let noticed = if restart { 0 } else { noticed };
                assert!(site.events("blob-damaged").len() > noticed, "{context}");
                assert_sound(site.store());
            }
        }
    }
}

fn overwrite(file: &Path, bytes: &[u8]) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("make the blob writable");
    fs::write(file, bytes).expect("damage the blob");
}

/// Killed anywhere between the first byte and the rename, it leaves nothing wrong behind.
#[tokio::test]
async fn fifty_kills_during_ingest_leave_no_wrong_blob() {
    const KILLS: usize = 50;
    const SIZE: usize = 1_000_000;
    // A module takes a little less than as many milliseconds as there are kills.
    const RATE: u32 = 25_000_000;
    let (registry, relay, host) = relayed().await;
    let module = |kill| wasm_of_size(SIZE + kill);
    for kill in 0..KILLS {
        registry.pusher().wasm(&format!("module-{kill}"), "latest", module(kill)).await;
    }
    relay.limit(UNLIMITED, RATE);
    let mut site = Site::start(&host, &[]).await;
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let app_name = format!("module-{kill}");
        site.proplet().publish_request(&app_name).await;
        site.daemon().event("requested").await;
        // Each kill comes a little later in the transfer than the one before.
        sleep(Duration::from_millis(kill as u64)).await;
        site.kill().await;
        assert_sound(site.store());
        cut_short += usize::from(find(site.store(), &digest(&module(kill))).is_none());
        site.restart(&[]).await;
    }
    assert!(cut_short > KILLS / 4, "only {cut_short} kills came during an ingest");
    relay.limit(UNLIMITED, UNLIMITED);
    for kill in 0..KILLS {
        site.delivers(&format!("module-{kill}"), &module(kill)).await;
        assert!(find(site.store(), &digest(&module(kill))).is_some(), "module-{kill} is not in the store");
    }
    assert_sound(site.store());
}

/// The disk is full after 2 MiB, or files may not grow beyond that.
#[tokio::test]
async fn a_full_disk_fails_only_the_delivery_that_fills_it() {
    let registry = DockerRegistry::start().await;
    let (large, small) = (wasm_of_size(3_000_000), wasm_of_size(1_000_000));
    registry.pusher().wasm("large", "latest", large.clone()).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    // The signal for a file that grows too large would end the daemon before the error reaches it.
    let mut disks = vec![after(&["sh"], "trap '' XFSZ && ulimit -f 4096")];
    if may_mount().await {
        disks.push(after(MOUNTING, "mount -t tmpfs -o size=2m tmpfs \"$PROXY_CACHE_DIR\""));
    }
    for disk in disks {
        let site = Site::start_by(disk, registry.host(), &[]).await;
        for _ in 0..2 {
            site.rejects("large", "disk").await;
            site.delivers("small", &small).await;
        }
    }
}

/// The store serves a blob only under the credentials that fetched it, though others may learn its digest.
#[tokio::test]
async fn private_modules_are_served_only_under_the_same_credentials() {
    let registry = TokenRegistry::public("ada", "lovelace").await;
    registry.admit_user("eve", "apple");
    let module = wasm_of_size(1000);
    let pushed = registry.push("add", "latest", module.clone()).await;
    let by_digest = format!("add@{}", pushed.manifest);

    let mut site = Site::start(registry.host(), &login("ada", "lovelace")).await;
    site.delivers("add", &module).await;
    registry.lose_blobs();
    let folder = path(site.store()).to_owned();
    for credentials in [&login("eve", "apple")[..], &[]] {
        let variables = [credentials, &[("PROXY_CACHE_DIR", &folder)]].concat();
        let mut stranger = Site::start(registry.host(), &variables).await;
        stranger.rejects("add", "unknown-image").await;
        stranger.rejects(&by_digest, "unknown-image").await;
        stranger.kill().await;
        stranger.restart(&[("PROXY_PULL_POLICY", "never")]).await;
        stranger.rejects("add", "not-cached").await;
    }
    site.kill().await;
    site.restart(&[]).await;
    site.delivers("add", &module).await;
    site.delivers(&by_digest, &module).await;
}

#[tokio::test]
async fn stale_downloads_are_removed_at_start() {
    let registry = DockerRegistry::start().await;
    let mut site = Site::start(registry.host(), &[]).await;
    site.kill().await;
    let (stale, fresh) = (site.in_store("v1/ingest/stale"), site.in_store("v1/ingest/fresh"));
    fs::create_dir_all(site.in_store("v1/ingest")).expect("the folder of downloads");
    for file in [&stale, &fresh] {
        fs::write(file, "half a module").expect("write a left-over");
    }
    age(&stale);
    site.restart(&[]).await;
    assert!(!stale.exists(), "{}", site.log());
    assert!(fresh.exists(), "{}", site.log());
}

/// However long another daemon has waited for its registry, its download is not taken from under it.
#[tokio::test]
async fn a_running_download_is_not_removed() {
    let (registry, relay, host) = relayed().await;
    let module = wasm_of_size(2_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    relay.limit(UNLIMITED, 2_000_000);
    let site = Site::start(&host, &[]).await;
    let hold = async {
        let ingest = timeout(Duration::from_secs(10), written(&site.in_store("v1/ingest"))).await;
        relay.stall(true);
        age(&ingest.expect("a download in the store"));
        let folder = path(site.store());
        let _other = Site::start(&host, &[("PROXY_CACHE_DIR", folder)]).await;
        relay.stall(false);
    };
    tokio::join!(site.delivers("add", &module), hold);
    assert!(find(site.store(), &digest(&module)).is_some(), "the download was removed\n{}", site.log());
}

/// Returns a file of the folder once there is one that is not empty, by polling.
async fn written(folder: &Path) -> PathBuf {
    loop {
        let file = entries(folder).into_iter().find(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0));
        match file {
            Some(file) => return file,
            None => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Makes a file two minutes old.
fn age(file: &Path) {
    let then = SystemTime::now() - Duration::from_secs(120);
    let file = File::options().write(true).open(file).expect("open a download");
    file.set_modified(then).expect("set its time");
}

#[tokio::test]
async fn the_least_recently_used_blob_is_evicted_first() {
    const LIMIT: u64 = 3 << 20;
    let registry = DockerRegistry::start().await;
    let mut modules = Vec::new();
    for (repository, size) in [("a", 1_000_000), ("b", 1_000_001), ("c", 1_000_002), ("d", 1_000_003)] {
        let module = wasm_of_size(size);
        registry.pusher().wasm(repository, "latest", module.clone()).await;
        modules.push((repository, module));
    }
    let mut site = Site::start(registry.host(), &[("PROXY_CACHE_SIZE", "3MiB")]).await;
    let held = |site: &Site| -> String {
        let held = modules.iter().filter(|(_, module)| find(site.store(), &digest(module)).is_some());
        held.map(|(repository, _)| *repository).collect()
    };
    // Three fit; each row is a request and what is in the store after it.
    for (repository, expected) in
        [("a", "a"), ("b", "ab"), ("c", "abc"), ("a", "abc"), ("d", "acd"), ("b", "abd"), ("a", "abd")]
    {
        let (_, module) = modules.iter().find(|(name, _)| *name == repository).expect("a module");
        site.delivers(repository, module).await;
        assert_eq!(held(&site), expected, "after {repository}\n{}", site.log());
        let used = disk_usage(site.store());
        assert!(used <= LIMIT, "the store takes {used} bytes after {repository}");
    }
    site.kill().await;
    site.restart(&[]).await;
    site.delivers("c", &modules[2].1).await;
    assert_eq!(held(&site), "abc", "the order of use did not outlast the daemon\n{}", site.log());
}

/// Each row: a limit that the module does not keep to.
#[tokio::test]
async fn a_module_larger_than_the_store_is_delivered() {
    let registry = DockerRegistry::start().await;
    let (large, small) = (wasm_of_size(3_000_000), wasm_of_size(1000));
    registry.pusher().wasm("large", "latest", large.clone()).await;
    registry.pusher().wasm("small", "latest", small.clone()).await;
    for (setting, limit) in [("1MiB", 1 << 20), ("0", 0)] {
        let site = Site::start(registry.host(), &[("PROXY_CACHE_SIZE", setting)]).await;
        for _ in 0..2 {
            site.delivers("large", &large).await;
            site.delivers("small", &small).await;
        }
        assert!(find(site.store(), &digest(&large)).is_none(), "{setting}");
        let used = files(site.store(), "blobs").iter().map(|file| file.metadata().expect("a blob").len()).sum::<u64>();
        assert!(used <= limit.max(64 << 10), "the store has {used} bytes of blobs with a limit of {setting}");
    }
}

/// Devices get what they request, however the blob came into the store.
#[tokio::test]
async fn a_blob_that_fails_verification_is_never_stored() {
    let module = wasm_of_size(1_000_000);
    for (fault, code) in [(Fault::Tampered, "digest-mismatch"), (Fault::Short, "size-mismatch")] {
        let registry = FaultyRegistry::start(module.clone(), [fault]).await;
        let site = Site::start(registry.host(), &[]).await;
        site.rejects("add", code).await;
        assert_sound(site.store());
        assert!(find(site.store(), registry.digest()).is_none());
        assert!(entries(&site.in_store("v1/ingest")).is_empty(), "the download was left behind");
        registry.set([]);
        site.delivers("add:again", &module).await;
        assert!(find(site.store(), registry.digest()).is_some());
    }
}
