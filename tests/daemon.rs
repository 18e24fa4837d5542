//! The daemon as a process: its start, its signals, its exit status.

use crate::support::daemon::{Daemon, environment};
use crate::support::docker_registry::DockerRegistry;
use crate::support::mosquitto::{Mosquitto, Options};
use crate::support::proplet::{connect, connect_as};
use crate::support::{free_port, wasm_of_size};
use propeller_proxy::topic::Layout;

#[tokio::test]
async fn signals_end_it_in_good_order() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::between(&mosquitto, &registry).await;
        daemon.signal(signal).await;
        assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
        assert!(daemon.log().contains("\"stopped\""), "{}", daemon.log());
    }
    // It took leave of the broker, which otherwise notes an error.
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

/// What is being sent when the signal comes is finished if that takes no more than two seconds.
#[tokio::test]
async fn a_transfer_is_finished_before_the_end() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(10_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let mut daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet = connect(&mosquitto).await;
    let stop = async {
        daemon.logged("\"verified\"").await;
        daemon.signal("TERM").await;
    };
    let (assembled, ()) = tokio::join!(proplet.request("add"), stop);
    assert!(assembled.as_deref() == Some(&module[..]), "{}", daemon.log());
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_while_the_broker_is_away_ends_it_too() {
    let registry = DockerRegistry::start().await;
    let mut daemon = Daemon::spawn(&environment(&format!("tcp://127.0.0.1:{}", free_port()), registry.host()));
    daemon.logged("no connection to the broker").await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn it_waits_for_a_broker_that_is_not_there_yet() {
    let (mut mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    mosquitto.kill().await;
    let daemon = Daemon::spawn(&environment(&mosquitto.address(), registry.host()));
    daemon.logged("no connection to the broker").await;
    mosquitto.restart().await;
    daemon.logged("\"subscribed\"").await;
}

#[tokio::test]
async fn it_gives_the_broker_its_credentials_and_says_so_if_they_are_refused() {
    let users = [("proxy-id", "proxy-key"), ("device", "device-key")];
    let mosquitto = Mosquitto::with(Options { users: &users, ..Options::default() }).await;
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let login = |key: &str| {
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.extend([("PROXY_CLIENT_ID", "proxy-id".to_owned()), ("PROXY_CLIENT_KEY", key.to_owned())]);
        variables
    };
    let _daemon = Daemon::start(&login("proxy-key")).await;
    let proplet = connect_as(&mosquitto, Layout::Plain, 2, Some(("device", "device-key"))).await;
    assert!(proplet.request("add").await.is_some());

    for variables in [login("canary-key"), environment(&mosquitto.address(), registry.host())] {
        let mut refused = Daemon::spawn(&variables);
        assert_eq!(refused.ended().await.code(), Some(77), "{}", refused.log());
        refused.logged("error: broker mqtt://127.0.0.1").await;
        refused.logged("not authorized").await;
        refused.logged("hint: check PROXY_CLIENT_ID and PROXY_CLIENT_KEY").await;
        assert!(!refused.log().contains("canary"), "{}", refused.log());
    }
}

/// The memory for a large module is that of the window in flight, not that of the module.
#[tokio::test]
async fn memory_does_not_grow_with_the_module() {
    const LIMIT: u64 = 40 << 20;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("large", "latest", wasm_of_size(100_000_000)).await;
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let proplet = connect(&mosquitto).await;
    assert!(proplet.request("large").await.is_some(), "{}", daemon.log());
    daemon.logged("\"delivered\"").await;
    let peak = daemon.peak_memory();
    assert!(peak <= LIMIT, "{} KiB were resident", peak / 1024);
}
