//! The folder of the store: where it is, who may read it, and what happens without a usable one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use tokio::process::Command;

use super::store::assert_sound;
use crate::support::clients::daemon::{BINARY, Daemon, environment};
use crate::support::faults::faulty_registry::FaultyRegistry;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::shell::{MOUNTING, after, may_mount};
use crate::support::store::entries;
use crate::support::{path, wasm_of_size};

#[tokio::test]
async fn a_lost_store_folder_fails_the_delivery() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    registry.pusher().wasm("subtract", "latest", wasm_of_size(1001)).await;
    let site = Site::start(registry.host(), &[]).await;
    site.delivers("add", &module).await;
    fs::remove_dir_all(site.in_store("v1")).expect("remove the store");
    fs::write(site.in_store("v1"), "in its place").expect("write a file");
    site.rejects("subtract", "disk").await;
}

/// Each row: a folder that cannot be used, and the command that makes it so.
#[tokio::test]
async fn an_unusable_store_folder_prevents_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("write a file");
    let mut rows = vec![
        (PathBuf::from("/dev/null/store"), Command::new(BINARY)),
        (file.clone(), Command::new(BINARY)),
        (file.join("store"), Command::new(BINARY)),
    ];
    if may_mount().await {
        let read_only = after(MOUNTING, "mount -t tmpfs -o ro tmpfs \"$PROXY_CACHE_DIR\"");
        rows.push((folder.path().to_owned(), read_only));
        // One with everything in it.
        let made = "mount -t tmpfs tmpfs \"$PROXY_CACHE_DIR\" && mkdir -p \"$PROXY_CACHE_DIR/v1/ingest\" && \
                    head -c 32 /dev/urandom > \"$PROXY_CACHE_DIR/v1/salt\" && \
                    mount -o remount,ro \"$PROXY_CACHE_DIR\"";
        rows.push((folder.path().to_owned(), after(MOUNTING, made)));
    }
    for (store, command) in rows {
        let mut variables = environment("tcp://127.0.0.1:1", "localhost:5000");
        variables.push(("PROXY_CACHE_DIR", store.display().to_string()));
        Daemon::spawn_by(command, &variables).fails_for(&store, "PROXY_CACHE_DIR").await;
    }
}

/// Each row: variables with the folder in place of `$`, and where below it the store is then.
#[tokio::test]
async fn the_store_folder_follows_the_environment() {
    let home = ("HOME", "$/home");
    let xdg = ("XDG_CACHE_HOME", "$/xdg");
    let systemd = ("CACHE_DIRECTORY", "$/systemd");
    let own = ("PROXY_CACHE_DIR", "$/own");
    for (variables, store) in [
        (&[home][..], "home/.cache/propeller-proxy/v1"),
        (&[home, xdg], "xdg/propeller-proxy/v1"),
        (&[home, xdg, systemd], "systemd/v1"),
        (&[home, xdg, systemd, own], "own/v1"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let here = path(folder.path());
        let mut all = environment("tcp://127.0.0.1:1", "localhost:5000");
        // Empty counts as unset.
        all.push(("PROXY_CACHE_DIR", String::new()));
        all.extend(variables.iter().map(|(name, value)| (*name, value.replace('$', here))));
        let daemon = Daemon::spawn(&all);
        daemon.event("connection-failed").await;
        assert!(folder.path().join(store).is_dir(), "{variables:?}\n{}", daemon.log());
    }
}

/// What ran before there was a store runs on, for instance as a user without a home.
#[tokio::test]
async fn without_a_configured_store_folder_a_temporary_one_is_used() {
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let folder = tempfile::tempdir().expect("a folder");
    let temporary = ("TMPDIR", path(folder.path()));
    let nowhere = [("PROXY_CACHE_DIR", ""), ("HOME", "/dev/null"), temporary];
    let mut site = Site::start(registry.host(), &nowhere).await;
    site.daemon().event("temporary-store").await;
    site.delivers("add", &module).await;
    assert_eq!(entries(folder.path()).len(), 1);
    site.stop().await;
    assert_eq!(entries(folder.path()).len(), 0);
}

#[tokio::test]
async fn only_the_owner_may_read_the_store() {
    const EVERYONE_ELSE: u32 = 0o077;
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("deep/store");
    let site = Site::start(registry.host(), &[("PROXY_CACHE_DIR", path(&store))]).await;
    site.delivers("add", &module).await;
    let mut folders = vec![store.clone(), store.join("v1")];
    folders.extend(entries(&store.join("v1")));
    folders.extend(folders.clone().iter().skip(2).flat_map(|scope| entries(scope)));
    assert!(folders.len() > 4, "{folders:?}");
    for path in folders.into_iter().filter(|path| path.is_dir()) {
        let mode = path.metadata().expect("a folder of the store").mode();
        assert_eq!(mode & EVERYONE_ELSE, 0, "{} has mode {mode:o}", path.display());
    }
}

#[tokio::test]
async fn two_daemons_share_a_store() {
    let module = wasm_of_size(2_000_000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let one = Site::start(registry.host(), &[]).await;
    let folder = path(one.store());
    let other = Site::start(registry.host(), &[("PROXY_CACHE_DIR", folder)]).await;
    tokio::join!(one.delivers("add:1.0", &module), other.delivers("add:1.0", &module));
    let both = registry.fetches();
    assert!((1..=2).contains(&both), "{both} fetches");
    tokio::join!(one.delivers("add:2.0", &module), other.delivers("add:2.0", &module));
    assert_eq!(registry.fetches(), both, "a blob was fetched again");
    assert_sound(one.store());

    let late = Site::start(registry.host(), &[("PROXY_CACHE_DIR", folder)]).await;
    late.delivers("add:3.0", &module).await;
    assert_eq!(registry.fetches(), both, "a blob of another daemon was fetched again");
}
