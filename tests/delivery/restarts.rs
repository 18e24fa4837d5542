//! Restarts: a daemon that ended in whatever way resumes its transfers and mixes no versions.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use propeller_proxy::embedded::sample;
use tokio::process::Command;

use crate::support::clients::daemon::{BINARY, Daemon, environment, owned};
use crate::support::clients::proplet::{chunks_received, connect, receives};
use crate::support::clients::task::Task;
use crate::support::faults::relay::UNLIMITED;
use crate::support::points::{Point, at_random_points};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::shell::{MOUNTING, after, may_mount};
use crate::support::{Variable, path, wasm_of_size};

const STATE_DIR: &str = "PROXY_STATE_DIR";
pub(super) const TOTAL_CHUNKS: u64 = 120;
pub(super) const CHUNKS: Variable = ("PROXY_CHUNK_SIZE", "10000");
pub(super) const SIZE: usize = 1_200_000;
/// A pass takes two seconds.
pub(super) const RATE: u32 = 800_000;
const AT_ONCE: usize = 20;

/// Restarted at once.
#[tokio::test]
async fn a_killed_daemon_resumes_its_transfer() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(SIZE);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, module) = (registry.host(), &module);
        async move {
            let mut site = Site::behind_relay(registry, RATE, &[CHUNKS]).await;
            let mut task = site.task("add");
            task.has(point.chunks).await;
            site.kill().await;
            let done = !site.events("delivered").is_empty();
            site.restart(&[]).await;
            assert!(task.module().await.as_deref() == Some(module), "{point}\n{}", site.log());
            // Near its end the transfer may be over, but for the line in the log.
            if (1..TOTAL_CHUNKS * 3 / 4).contains(&point.chunks) && !done {
                assert_eq!(site.events("resumed").len(), 1, "{point}\n{}", site.log());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_killed_several_times_resumes_its_transfer() {
    let registry = DockerRegistry::start().await;
    // Small enough that its passes are not spaced.
    let module = wasm_of_size(960_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let mut site = Site::behind_relay(registry.host(), RATE, &[("PROXY_CHUNK_SIZE", "8000")]).await;
    let mut task = site.task("add");
    for chunks in [30, 60, 90] {
        task.has(chunks).await;
        site.kill().await;
        site.restart(&[]).await;
        site.daemon().event("resumed").await;
    }
    assert!(task.module().await.as_deref() == Some(&module[..]), "{}", site.log());
}

/// The two modules that a tag means before and after it moves: of the same size.
pub(super) fn versions() -> [Bytes; 2] {
    [1, 2].map(|seed| sample::noise(SIZE, seed).into())
}

/// While the daemon is stopped its tag moves. Requests from before, and later ones of devices with half a module or with
/// none, get one version or the other. The daemon starts again with `then` over its variables.
pub(super) async fn a_tag_moves_during_a_restart(
    (mut site, then): (Site, &[Variable<'_>]),
    registry: &DockerRegistry,
    versions: &[Bytes; 2],
    point: &Point,
) {
    let repository = format!("moved-{}", point.index);
    registry.pusher().wasm(&repository, "latest", versions[0].clone()).await;
    let bystander = Arc::new(connect(site.mosquitto()).await);
    let mut asked_before = site.task(&repository);
    asked_before.has(point.chunks).await;
    site.kill().await;
    // Devices that connect now receive nothing of the old transfer: two devices remain.
    site.mosquitto().has_clients(2).await;
    registry.pusher().wasm(&repository, "latest", versions[1].clone()).await;
    site.restart(then).await;
    let newcomer = Arc::new(connect(site.mosquitto()).await);
    let mut ask_after = [&bystander, &newcomer].map(|proplet| Task::start(proplet, &repository));
    for (who, task) in ["who asked before", "the bystander", "the newcomer"]
        .into_iter()
        .zip([&mut asked_before].into_iter().chain(&mut ask_after))
    {
        let module = task.module().await;
        let module = module.unwrap_or_else(|| panic!("{point}: {who} got nothing\n{}", site.log()));
        assert!(versions.iter().any(|version| *version == module), "{point}: {who} got a mixture");
    }
}

#[tokio::test]
async fn a_tag_moved_during_a_restart_mixes_no_versions() {
    let registry = DockerRegistry::start().await;
    let versions = versions();
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, versions) = (&registry, &versions);
        async move {
            let site = Site::behind_relay(registry.host(), RATE, &[CHUNKS]).await;
            a_tag_moves_during_a_restart((site, &[]), registry, versions, &point).await;
        }
    })
    .await;
}

/// Nobody knows any more what was sent. A newcomer gets what the tag means now; who has a part of something gets that
/// whole, or nothing. The state may be lost under a name that stays, or with the name that was in it.
#[tokio::test]
async fn a_lost_state_mixes_no_versions() {
    let registry = DockerRegistry::start().await;
    let versions = versions();
    at_random_points(TOTAL_CHUNKS, AT_ONCE, |point: Point| {
        let (registry, versions) = (&registry, &versions);
        async move {
            let (moved, named) = (point.index.is_multiple_of(2), (point.index / 2).is_multiple_of(2));
            let repository = format!("lost-{}", point.index);
            registry.pusher().wasm(&repository, "latest", versions[0].clone()).await;
            // Its session is found again without the state.
            let name =
                if named { &[("PROXY_INSTANCE_ID", "named"), ("PROXY_EXACT_CLIENT_ID", "true")][..] } else { &[] };
            let variables = [&[CHUNKS], name].concat();
            let mut site = Site::behind_relay(registry.host(), RATE, &variables).await;
            let bystander = Arc::new(connect(site.mosquitto()).await);
            let mut asked_before = site.task(&repository);
            asked_before.has(point.chunks).await;
            site.kill().await;
            // Devices that connect now receive nothing of the old transfer: two devices remain.
            site.mosquitto().has_clients(2).await;
            site.lose_state();
            if moved {
                registry.pusher().wasm(&repository, "latest", versions[1].clone()).await;
            }
            let heard = chunks_received(&bystander);
            // The broker keeps requests from now on for a daemon of the same name.
            let newcomer = Arc::new(connect(site.mosquitto()).await);
            let mut new_task = named.then(|| Task::start(&newcomer, &repository));
            site.restart(&[]).await;
            let new_task = new_task.get_or_insert_with(|| Task::start(&newcomer, &repository));
            let mut late_task = Task::start(&bystander, &repository);

            let case = format!("{point}, {}", if moved { "moved" } else { "not moved" });
            let module = new_task.module().await;
            let module = module.unwrap_or_else(|| panic!("{case}: the newcomer got nothing\n{}", site.log()));
            assert!(module == versions[usize::from(moved)], "{case}: the newcomer got something else");
            for (proplet, task) in [(site.proplet(), &mut asked_before), (&*bystander, &mut late_task)] {
                receives(proplet, heard + chunks_received(&newcomer)).await;
                if let Some(module) = task.module_so_far() {
                    assert!(versions.iter().any(|version| *version == module), "{case}: a mixture\n{}", site.log());
                }
            }
        }
    })
    .await;
}

/// A module that takes too long to be finished at the end is finished after it.
#[tokio::test]
async fn a_stopped_transfer_resumes_after_a_restart() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(20_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let mut site = Site::behind_relay(registry.host(), 4_000_000, &[]).await;
    let mut task = site.task("add");
    task.has(5).await;
    site.stop().await;
    site.relay().limit(UNLIMITED, UNLIMITED);
    site.restart(&[]).await;
    assert!(task.module().await.as_deref() == Some(&module[..]), "{}", site.log());
    assert_eq!(site.events("resumed").len(), 1, "{}", site.log());
}

/// The broker keeps requests for a daemon whose name it knows: one that it was given exactly, or one in its state.
#[tokio::test]
async fn requests_queued_by_the_broker_are_served_after_a_restart() {
    const REQUESTS: usize = 20;
    const NAME: [Variable; 2] = [("PROXY_INSTANCE_ID", "named"), ("PROXY_EXACT_CLIENT_ID", "true")];

    let registry = DockerRegistry::start().await;
    let modules: Vec<_> = (0..REQUESTS).map(|index| (format!("module-{index}"), wasm_of_size(1000 + index))).collect();
    for (repository, module) in &modules {
        registry.pusher().wasm(repository, "latest", module.clone()).await;
    }
    let (registry, modules) = (registry.host(), &modules);
    // Each row: its variables, whether it is killed, and whether its state is lost.
    let rows = [(&[][..], true, false), (&[], false, false), (&NAME, true, true), (&NAME, false, true)];
    let trials = rows.map(|(variables, killed, lost)| async move {
        let mut site = Site::start(registry, variables).await;
        if killed {
            site.kill().await;
        } else {
            site.stop().await;
        }
        if lost {
            site.lose_state();
        }
        let mut tasks: Vec<_> = modules.iter().map(|(repository, _)| site.task(repository)).collect();
        for task in &mut tasks {
            task.requested().await;
        }
        site.restart(&[]).await;
        for (task, (repository, module)) in tasks.iter_mut().zip(modules) {
            let assembled = task.module().await;
            assert!(assembled.as_deref() == Some(module), "{repository}, {variables:?}, {killed}\n{}", site.log());
        }
    });
    join_all(trials).await;
}

/// Each row: what happens to the file of the state while the daemon is away.
#[tokio::test]
async fn a_damaged_state_is_set_aside() {
    type Damage = fn(&Path);
    let accidents: [(&str, Damage); 4] = [
        ("it is something else", |file| fs::write(file, GARBAGE.repeat(1000)).expect("write something else")),
        ("it is short", |file| fs::write(file, GARBAGE).expect("write something short")),
        ("its end is missing", |file| {
            let file = File::options().write(true).open(file).expect("open the state");
            file.set_len(file.metadata().expect("its size").len() / 2).expect("cut the state");
        }),
        ("all after its head is something else", |file| {
            let file = File::options().write(true).open(file).expect("open the state");
            let rest = file.metadata().expect("its size").len() - HEAD;
            let garbage = GARBAGE.repeat(usize::try_from(rest).expect("its size") / GARBAGE.len());
            file.write_all_at(&garbage, HEAD).expect("overwrite the state");
        }),
    ];
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for (accident, damage) in accidents {
        for killed in [true, false] {
            let mut site = Site::start(registry.host(), &[]).await;
            site.delivers("add", &module).await;
            if killed {
                site.kill().await;
            } else {
                site.stop().await;
            }
            let state = site.state().join("state.redb");
            damage(&state);
            site.restart(&[]).await;
            site.daemon().event("state-set-aside").await;
            site.delivers("add", &module).await;
            assert_eq!(set_aside(site.state()).len(), 1, "{accident}\n{}", site.log());

            // The new one is as good as the old one was.
            site.kill().await;
            site.restart(&[]).await;
            assert!(site.events("state-set-aside").is_empty(), "{accident}\n{}", site.log());
        }
    }
}

const GARBAGE: &[u8] = b"this is no state, whatever else it may be; ";
/// Bytes of what the file of the state begins with: a page.
const HEAD: u64 = 4096;

/// Returns the files beside the state that were one.
fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("list a folder").flatten().map(|entry| entry.path());
    files.filter(|file| path(file).contains("/state.redb") && !file.ends_with("state.redb")).collect()
}

/// Each row: a folder that cannot be used, and the command that makes it so.
#[tokio::test]
async fn an_unusable_state_folder_prevents_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("write a file");
    let mut rows = vec![
        (PathBuf::from("/dev/null/state"), Command::new(BINARY)),
        (file.clone(), Command::new(BINARY)),
        (file.join("state"), Command::new(BINARY)),
    ];
    if may_mount().await {
        let read_only = after(MOUNTING, "mount -t tmpfs -o ro tmpfs \"$PROXY_STATE_DIR\"");
        rows.push((folder.path().to_owned(), read_only));
    }
    for (state, command) in rows {
        let mut variables = environment("tcp://127.0.0.1:1", "localhost:5000");
        variables.push((STATE_DIR, state.display().to_string()));
        Daemon::spawn_by(command, &variables).fails_for(&state, STATE_DIR).await;
    }
}

/// The second daemon that is given the folder does not start; the first is not disturbed.
#[tokio::test]
async fn two_daemons_cannot_share_a_state() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let mut site = Site::start(registry.host(), &[]).await;
    let mut variables = environment(&site.mosquitto().address(), registry.host());
    variables.push((STATE_DIR, path(site.state()).to_owned()));
    Daemon::spawn(&variables).fails_for(site.state(), STATE_DIR).await;
    site.delivers("add", &module).await;
    site.kill().await;
    // The end of the first, however sudden, sets the folder free.
    Daemon::start(&variables).await;
}

/// Each row: variables with the folder in place of `$`, and where below it the state is then.
#[tokio::test]
async fn the_state_folder_follows_the_environment() {
    let home = ("HOME", "$/home");
    let xdg = ("XDG_STATE_HOME", "$/xdg");
    let systemd = ("STATE_DIRECTORY", "$/systemd");
    let own = (STATE_DIR, "$/own");
    for (variables, state) in [
        (&[home][..], "home/.local/state/propeller-proxy/state.redb"),
        (&[home, xdg], "xdg/propeller-proxy/state.redb"),
        (&[home, xdg, systemd], "systemd/state.redb"),
        (&[home, xdg, systemd, own], "own/state.redb"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let here = path(folder.path());
        let mut all = environment("tcp://127.0.0.1:1", "localhost:5000");
        // Empty counts as unset.
        all.push((STATE_DIR, String::new()));
        all.extend(variables.iter().map(|(name, value)| (*name, value.replace('$', here))));
        let daemon = Daemon::spawn(&all);
        daemon.event("connection-failed").await;
        assert!(folder.path().join(state).is_file(), "{variables:?}\n{}", daemon.log());
    }
}

#[tokio::test]
async fn without_a_configured_state_folder_a_temporary_one_is_used() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [(STATE_DIR, ""), ("HOME", "/dev/null"), ("TMPDIR", path(folder.path()))];
    let mut site = Site::start(registry.host(), &variables).await;
    site.daemon().event("temporary-state").await;
    site.delivers("add", &module).await;
    site.stop().await;
    assert_eq!(fs::read_dir(folder.path()).expect("list the folder").count(), 0, "it was left behind");
}

/// The two would send one app at once, in totals of their own.
#[tokio::test]
async fn a_temporary_state_does_not_replace_one_that_another_proxy_uses() {
    let home = tempfile::tempdir().expect("a home");
    let mut variables = environment("tcp://127.0.0.1:1", "localhost:1");
    variables.extend(owned(&[(STATE_DIR, ""), ("HOME", path(home.path()))]));
    let first = Daemon::spawn(&variables);
    first.event("connection-failed").await;
    let mut second = Daemon::spawn(&variables);
    assert_eq!(second.ended().await.code(), Some(1), "{}", second.log());
    assert!(second.log().contains("another proxy uses it"), "{}", second.log());
}
