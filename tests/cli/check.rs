//! `check`: each part, working and failing.

use std::fs;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::clients::cli::{Ran, Shell};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::proplet::connect;
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::token_service::TokenRegistry;
use crate::support::{free_port, login, wasm_of_size};

const USERS: &[(&str, &str)] = &[("proxy-id", "proxy-key")];

/// Shows what `check` prints, with names for what differs from run to run.
fn shown(ran: &Ran, shell: &Shell, broker: &str, registry: &str) -> String {
    let folder = shell.path("");
    let folder = folder.to_str().expect("a path in UTF-8").trim_end_matches('/');
    let broker = broker.rsplit_once("//").map_or(broker, |(_, host)| host);
    ran.shown(&[(folder, "FOLDER"), (broker, "BROKER"), (registry, "REGISTRY")])
}

/// The parts that failed, with the codes of their errors.
fn failed(report: &Value) -> Vec<(&str, &str)> {
    let checks = report["checks"].as_array().expect("a list of checks");
    let failed = checks.iter().filter(|check| check["ok"] == json!(false));
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default().leak() as &str;
    failed.map(|check| (text(&check["name"]), text(&check["code"]))).collect()
}

#[tokio::test]
async fn check_reports_every_part_as_working() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let shell = Shell::of(&mosquitto, &registry);
    let ran = shell.run(&["check"]).await.ended(0);
    assert_snapshot!("check_ok", shown(&ran, &shell, &mosquitto.address(), registry.host()));
    let report = shell.run(&["check", "--format", "json"]).await.ended(0).json();
    let names: Vec<_> = report["checks"].as_array().expect("checks").iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["configuration", "broker", "registry", "store", "state"]);
    assert_eq!(report["ok"], true);
    assert!(!shell.path("cache").exists() && !shell.path("state").exists(), "nothing is made");
    // It took leave of the broker, which otherwise notes an error.
    assert!(!mosquitto.log().contains("closed its connection"), "{}", mosquitto.log());
}

#[tokio::test]
async fn check_reports_every_failure_and_offline_opens_no_connection() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let shell = Shell::between(&format!("tcp://{address}"), &address).with("PROXY_STATE_DIR", "/dev/null/state");
    let report = shell.run(&["check", "--offline", "--format", "json"]).await.ended(1).json();
    assert_eq!(failed(&report), [("state", "disk")]);
    let connection = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(connection.is_err(), "it has connected");
    drop(listener);

    let ran = shell.run(&["check"]).await.ended(1);
    assert_snapshot!("check_failed", shown(&ran, &shell, &address, &address));
}

#[tokio::test]
async fn a_bad_configuration_is_the_only_report() {
    let shell = Shell::new().with("PROXY_MQTT_QOS", "9").with("PROXY_MQTT_TIMOUT", "3s");
    let ran = shell.run(&["check"]).await.ended(78);
    assert_snapshot!("check_configuration", ran.shown(&[]));
    let report = shell.run(&["check", "--format", "json", "--offline"]).await.ended(78).json();
    assert_eq!(failed(&report), [("configuration", "")]);
}

#[tokio::test]
async fn the_configuration_file_is_named() {
    let shell = Shell::new();
    let text = "[proxy]\nregistry_url = \"localhost\"\ndomain_id = \"d\"\nchannel_id = \"c\"\n";
    fs::write(shell.path("proxy.toml"), text).expect("write the file");
    let ran = shell.run(&["check", "--offline", "--config-file", "proxy.toml"]).await.ended(0);
    assert!(ran.text().starts_with("ok      configuration: flags, environment and proxy.toml: "), "{}", ran.text());
}

#[tokio::test]
async fn rejected_broker_credentials_exit_with_77() {
    let mosquitto = Mosquitto::with(Options { users: USERS, ..Options::default() }).await;
    let registry = DockerRegistry::start().await;
    for (key, status) in [("canary", 77), ("proxy-key", 0)] {
        let shell = Shell::of(&mosquitto, &registry).with("PROXY_CLIENT_ID", "proxy-id").with("PROXY_CLIENT_KEY", key);
        let ran = shell.run(&["check"]).await.ended(status);
        assert!(!ran.text().contains("canary"), "{}", ran.text());
        if status != 0 {
            assert_snapshot!("check_refused", shown(&ran, &shell, &mosquitto.address(), registry.host()));
        }
    }
}

#[tokio::test]
async fn a_rejected_subscription_exits_with_77() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let shell = Shell::between(&format!("tcp://{address}"), "127.0.0.1:1");
    let broker = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.expect("CONNECT");
        stream.write_all(&[0x20, 2, 0, 0]).await.expect("send CONNACK");
        let _ = stream.read(&mut buffer).await.expect("SUBSCRIBE");
        // MQTT 3.1.1, section 3.9: after the fixed header, the packet identifier and a return code for each filter.
        let identifier = &buffer[2..4];
        let answer = [&[0x90, 4], identifier, &[0x80, 0x80]].concat();
        stream.write_all(&answer).await.expect("send SUBACK");
        stream
    };
    let (ran, _stream) = tokio::join!(shell.run(&["check", "--format", "json"]), broker);
    let report = ran.ended(77).json();
    assert_eq!(failed(&report)[0], ("broker", "broker-refused"));
    let detail = report["checks"][1]["detail"].as_str().expect("a detail");
    assert!(detail.contains("no permission to subscribe to m/domain/c/channel/messages/registry/proplet"), "{detail}");
}

#[tokio::test]
async fn a_silent_broker_times_out_as_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("its address"));
    let shell = Shell::between(&address, "127.0.0.1:1").with("PROXY_MQTT_TIMEOUT", "300ms");
    let report = shell.run(&["check", "--format", "json"]).await.ended(1).json();
    assert_eq!(failed(&report)[0], ("broker", "broker-unreachable"));
}

#[tokio::test]
async fn rejected_registry_credentials_are_reported() {
    let mosquitto = Mosquitto::start().await;
    let registry = DockerRegistry::with(Auth::Htpasswd { username: "ada", password: "secret" }, None).await;
    let check = async |credentials: &[(&str, &str)]| {
        let shell = Shell::of(&mosquitto, &registry);
        let shell = credentials.iter().fold(shell, |shell, (name, value)| shell.with(name, value));
        (shell.run(&["check"]).await, shell)
    };
    let (good, _) = check(&login("ada", "secret")).await;
    assert!(good.ended(0).text().contains("answers 200 OK to these credentials"));
    for (name, credentials) in [("wrong", &login("ada", "canary")[..]), ("none", &[])] {
        let (ran, shell) = check(credentials).await;
        let ran = ran.ended(1);
        assert!(!ran.text().contains("canary"), "{}", ran.text());
        let shown = shown(&ran, &shell, &mosquitto.address(), registry.host());
        assert_snapshot!(format!("check_credentials_{name}"), shown);
    }
}

/// Tokens are scoped to a repository; where there are credentials, the check requests a token to try them.
#[tokio::test]
async fn credentials_are_checked_with_the_token_service() {
    let (mosquitto, registry) = (Mosquitto::start().await, TokenRegistry::start("ada", "secret").await);
    for (credentials, status, said) in [
        (&[][..], 0, "wants a token for each repository"),
        (&login("ada", "secret"), 0, "answers 200 OK to these credentials"),
        (&login("ada", "canary"), 1, "registry (unauthorized): the registry refuses"),
    ] {
        let shell = Shell::between(&mosquitto.address(), registry.host());
        let shell = credentials.iter().fold(shell, |shell, (name, value)| shell.with(name, value));
        let ran = shell.run(&["check"]).await.ended(status);
        assert!(ran.text().contains(said) && !ran.text().contains("canary"), "{}", ran.text());
    }
}

/// The proxy that runs has the state and its sessions, and goes on.
#[tokio::test]
async fn check_does_not_disturb_a_running_daemon() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let shell = Shell::of(&mosquitto, &registry);
    let daemon = Daemon::start(&shell.variables()).await;
    let ran = shell.run(&["check"]).await.ended(0);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    assert!(connect(&mosquitto).await.request("add").await.is_some(), "{}", daemon.log());
    assert_eq!(daemon.events("subscribed").len(), 1, "{}", daemon.log());
}

/// It tries what a replica subscribes to, and is one of no group.
#[tokio::test]
async fn a_replica_is_checked_with_the_status_of_the_others() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let shell =
        Shell::of(&mosquitto, &registry).with("PROXY_SHARE_GROUP", "replicas").with("PROXY_INSTANCE_ID", "proxy-1");
    shell.run(&["check"]).await.ended(0);
    // Not as itself, nor by an id that others can guess.
    let log = mosquitto.log();
    assert!(log.contains(" as proxy-1-") && !log.contains(" as proxy-1-check "), "{log}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("its address"));
    let shell = Shell::between(&address, "127.0.0.1:1").with("PROXY_SHARE_GROUP", "replicas");
    let broker = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.expect("CONNECT");
        stream.write_all(&[0x20, 2, 0, 0]).await.expect("send CONNACK");
        let read = stream.read(&mut buffer).await.expect("SUBSCRIBE");
        // The last filters are those of the status.
        let answer = [&[0x90, 6], &buffer[3..5], &[1, 1, 0x80, 0x80]].concat();
        stream.write_all(&answer).await.expect("send SUBACK");
        (String::from_utf8_lossy(&buffer[..read]).into_owned(), stream)
    };
    let (ran, (subscribed, _stream)) = tokio::join!(shell.run(&["check", "--format", "json"]), broker);
    assert!(!subscribed.contains("$share"), "{subscribed}");
    let report = ran.ended(77).json();
    let detail = report["checks"][1]["detail"].as_str().expect("a detail");
    assert!(detail.contains("subscribe to m/domain/c/channel/messages/registry/status and "), "{detail}");
}

/// A state that nobody has named a folder for, and that cannot be in the usual one, would be lost.
#[tokio::test]
async fn unusable_folders_are_reported() {
    let shell = Shell::between("tcp://127.0.0.1:1", "127.0.0.1:1");
    fs::create_dir_all(shell.path("cache/v1")).expect("make the store");
    fs::write(shell.path("cache/v1/ingest"), "").expect("write a file");
    let shell = shell.with("PROXY_STATE_DIR", "").with("XDG_STATE_HOME", "/dev/null");
    let report = shell.run(&["check", "--offline", "--format", "json"]).await.ended(1).json();
    assert_eq!(failed(&report), [("store", "disk"), ("state", "disk")]);
}

/// A reader of the first lines only still gets the exit status.
#[tokio::test]
async fn a_closed_pipe_does_not_hide_a_failure() {
    let shell = Shell::between("tcp://127.0.0.1:1", "127.0.0.1:1").with("PROXY_STATE_DIR", "/dev/null/state");
    let mut command = shell.command(&["check", "--offline"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("run the command");
    drop(child.stdout.take());
    assert_eq!(child.wait().await.expect("its end").code(), Some(1));
}

/// The state of another user, which cannot be written, is reported before the proxy starts.
#[tokio::test]
async fn a_file_in_place_of_a_folder_is_reported() {
    let shell = Shell::between("tcp://127.0.0.1:1", "127.0.0.1:1");
    fs::write(shell.path("cache"), "").expect("write a file");
    fs::create_dir_all(shell.path("state/state.redb")).expect("make a folder");
    let report = shell.run(&["check", "--offline", "--format", "json"]).await.ended(1).json();
    assert_eq!(failed(&report), [("store", "disk"), ("state", "disk")]);
}
