//! The HTTP endpoint: liveness and readiness.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout};

use crate::support::clients::daemon::{Daemon, environment, owned};
use crate::support::clients::endpoint::{failing, fails, get};
use crate::support::clients::push::client;
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::shell::after;
use crate::support::wasm_of_size;

/// Within what a loss of the broker shows.
const NOTICED: Duration = Duration::from_secs(5);
/// Longest wait for any other change.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a client may take to send its request.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of one machine that are open at once.
const MAX_CONNECTIONS: usize = 64;

#[tokio::test]
async fn the_endpoint_serves_only_probes_and_metrics() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[("PROXY_INSTANCE_ID", "me")]).await;
    let http = site.daemon().http().await;
    let (status, body) = get(&format!("{http}/health")).await;
    let health: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, StatusCode::OK);
    for (key, value) in
        [("status", "ok"), ("service", "proxy"), ("version", env!("CARGO_PKG_VERSION")), ("instance_id", "me")]
    {
        assert_eq!(health[key], value, "{health}");
    }
    assert_eq!(get(&format!("{http}/livez")).await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(failing(&http).await, BTreeSet::new());

    let ask = |method: Method, path: &str| client(None).request(method, format!("{http}{path}")).send();
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        let head = ask(Method::HEAD, path).await.expect("an answer");
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        assert!(head.bytes().await.expect("no body").is_empty());
        assert_eq!(ask(Method::POST, path).await.expect("an answer").status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(ask(Method::GET, "/").await.expect("an answer").status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_port_in_use_ends_the_daemon_at_start() {
    let (mosquitto, taken) = (Mosquitto::start().await, TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let address = taken.local_addr().expect("its address");
    let mut variables = environment(&mosquitto.address(), "localhost:5000");
    variables.push(("PROXY_HTTP_PORT", address.port().to_string()));
    let mut daemon = Daemon::spawn(&variables);
    assert_eq!(daemon.ended().await.code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains(&format!("error: the HTTP endpoint cannot listen on {address}: ")), "{log}");
    assert!(log.contains("hint: set PROXY_HTTP_PORT to"), "{log}");
    assert!(!mosquitto.log().contains("New connection"), "{}", mosquitto.log());

    // An address for documentation (RFC 5737), which no machine has.
    variables.extend(owned(&[("PROXY_HTTP_HOST", "192.0.2.1")]));
    let mut daemon = Daemon::spawn(&variables);
    assert_eq!(daemon.ended().await.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("hint: set PROXY_HTTP_HOST to"), "{}", daemon.log());

    variables.push(("PROXY_HTTP_PORT", "off".to_owned()));
    let daemon = Daemon::start(&variables).await;
    assert!(daemon.events("listening").is_empty(), "{}", daemon.log());
}

#[tokio::test]
async fn readiness_follows_the_broker() {
    let registry = DockerRegistry::start().await;
    let mut site = Site::start(registry.host(), &[]).await;
    let http = site.daemon().http().await;
    fails(&http, &[], DEADLINE).await;
    for _ in 0..2 {
        site.mosquitto_mut().kill().await;
        fails(&http, &["broker"], NOTICED).await;
        assert_eq!(get(&format!("{http}/livez")).await.0, StatusCode::OK);
        site.mosquitto_mut().restart().await;
        fails(&http, &[], NOTICED).await;
    }
}

/// A registry that is away, comes back, and hangs: the answer comes all the same.
#[tokio::test]
async fn readiness_follows_the_registry() {
    let registry = DockerRegistry::start().await;
    let way = Relay::start(registry.host()).await;
    way.refuse(true);
    let site = Site::start(&way.host(), &[]).await;
    let http = site.daemon().http().await;
    fails(&http, &["registry"], NOTICED).await;
    assert!(get(&format!("{http}/metrics")).await.1.contains("propeller_proxy_registry_up 0\n"));
    way.refuse(false);
    fails(&http, &[], DEADLINE).await;
    assert!(get(&format!("{http}/metrics")).await.1.contains("propeller_proxy_registry_up 1\n"));

    // What a delivery finds out is known at once.
    way.refuse(true);
    way.cut().await;
    site.rejects("canary", "registry-unreachable").await;
    assert_eq!(failing(&http).await, ["registry".to_owned()].into());
    let (_, said) = get(&format!("{http}/readyz")).await;
    assert!(!said.contains("canary"), "{said}");

    let silent = Relay::start(registry.host()).await;
    silent.stall(true);
    let site = Site::start(&silent.host(), &[]).await;
    let http = site.daemon().http().await;
    let begin = Instant::now();
    assert_eq!(failing(&http).await, ["registry".to_owned()].into());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn readiness_sends_the_registry_nothing_under_policy_never() {
    let site = Site::start("127.0.0.1:1", &[("PROXY_PULL_POLICY", "never")]).await;
    let http = site.daemon().http().await;
    fails(&http, &[], DEADLINE).await;
    assert!(get(&format!("{http}/readyz")).await.1.contains(" is not asked (PROXY_PULL_POLICY=never)"));
    assert!(!get(&format!("{http}/metrics")).await.1.contains("propeller_proxy_registry_up "));
}

/// Folders that are gone cannot be written to, not even by root.
#[tokio::test]
async fn readiness_names_the_folder_that_cannot_be_written() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[]).await;
    let http = site.daemon().http().await;
    fails(&http, &[], DEADLINE).await;
    let (ingest, aside) = (site.in_store("v1/ingest"), site.in_store("aside"));
    fs::rename(&ingest, &aside).expect("move a folder of the store");
    // It is made again if it is missing; not in the place of a file.
    fs::write(&ingest, "").expect("put a file in its place");
    fails(&http, &["store"], DEADLINE).await;
    let state = tempfile::tempdir().expect("another place");
    fs::rename(site.state(), state.path().join("aside")).expect("move the folder of the state");
    fails(&http, &["state", "store"], DEADLINE).await;
    fs::remove_file(&ingest).expect("remove the file");
    fs::rename(&aside, &ingest).expect("move it back");
    fs::rename(state.path().join("aside"), site.state()).expect("move it back");
    fails(&http, &[], DEADLINE).await;
}

/// Once nothing can be written for a while, and then again.
#[tokio::test]
async fn deliveries_continue_when_the_disk_can_be_written_again() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    // The signal for a file that grows too large would end the daemon before the error reaches it.
    let mut site = Site::start_by(after(&["sh"], "trap '' XFSZ"), registry.host(), &[]).await;
    let http = site.daemon().http().await;
    site.delivers("add", &module).await;
    for round in 1..=2 {
        fails(&http, &[], DEADLINE).await;
        site.daemon().limit_files("0").await;
        fails(&http, &["state", "store"], DEADLINE).await;
        // It notes every few seconds that it is there.
        site.daemon().nth_event("state-not-written", round).await;
        site.rejects("add", "disk").await;
        site.daemon().limit_files("unlimited").await;
        fails(&http, &[], DEADLINE).await;
        site.delivers("add", &module).await;
    }
    for event in ["state-not-written", "state-written"] {
        assert_eq!(site.events(event).len(), 2, "{event}\n{}", site.log());
    }
    site.kill().await;
    site.restart(&[]).await;
    site.delivers("add", &module).await;
}

/// Reads until the other end closes; returns what came, and after what time.
async fn rest(mut stream: TcpStream, begin: Instant) -> (String, Duration) {
    let mut said = Vec::new();
    // It may be reset: what was written is not read any more.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("an end");
    (String::from_utf8_lossy(&said).into_owned(), begin.elapsed())
}

#[tokio::test]
async fn slow_http_clients_time_out_and_keep_nobody_waiting() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let daemon = Daemon::between(&mosquitto, &registry).await;
    let http = daemon.http().await;
    let address = http.trim_start_matches("http://");
    let begin = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(address).await.expect("a connection"));
    }
    // One that sends a byte now and then.
    let (mut dripping, mut drip) = TcpStream::connect(address).await.expect("a connection").into_split();
    for path in ["livez", "health", "metrics"] {
        assert_eq!(get(&format!("{http}/{path}")).await.0, StatusCode::OK, "{path}");
    }
    // The newest have kept their places, the one that drips and those that were answered included; nobody was let go for
    // being slow.
    let kept = idle.split_off(idle.len() - (MAX_CONNECTIONS - 4));
    for stream in &kept {
        let read = stream.try_read(&mut [0]);
        assert!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{read:?}");
    }
    let dripping = async move {
        let mut turns = interval(Duration::from_millis(300));
        loop {
            turns.tick().await;
            if drip.write_all(b"G").await.is_err() {
                return begin.elapsed();
            }
            if timeout(Duration::from_millis(1), dripping.read_u8()).await.is_ok() {
                return begin.elapsed();
            }
        }
    };
    let kept = join_all(kept.into_iter().map(|stream| rest(stream, begin)));
    let (dripped, kept) = tokio::join!(timeout(DEADLINE, dripping), kept);
    // Not before its time; a loaded machine is late.
    let close = READ_TIMEOUT * 9 / 10..;
    let dripped = dripped.expect("an end");
    assert!(close.contains(&dripped), "one that drips was let go after {dripped:?}");
    for (_, elapsed) in kept {
        assert!(close.contains(&elapsed), "an idle one was let go after {elapsed:?}");
    }
    // The others had made room before.
    for stream in idle {
        rest(stream, begin).await;
    }
}

#[tokio::test]
async fn a_lack_of_file_descriptors_delays_connections_only() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let variables = environment(&mosquitto.address(), registry.host());
    let daemon = Daemon::spawn_by(after(&["sh"], "ulimit -S -n 256"), &variables);
    let http = daemon.http().await;
    let [soft, hard] = daemon.open_files_limits();
    assert_eq!(soft, hard.min(65_536));
    assert!(soft > 256, "the hard limit of this system is too low for the test");
    daemon.event("subscribed").await;
    daemon.limit_open_files(3).await;
    let waiting = tokio::spawn(async move { get(&format!("{http}/livez")).await });
    daemon.event("http-not-accepted").await;
    daemon.limit_open_files(soft).await;
    assert_eq!(waiting.await.expect("no panic").0, StatusCode::OK);
    assert_eq!(daemon.events("http-not-accepted").len(), 1, "{}", daemon.log());
}
