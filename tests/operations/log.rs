//! The log: a line an event, whatever others write into names, and nobody who waits for its reader.

use std::io::{Read as _, Write as _, pipe};
use std::process::Stdio;

use propeller_proxy::error::is_obeyed;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::support::clients::client::{Client, Message, request};
use crate::support::clients::daemon::{BINARY, CHANNEL, Daemon, STOP_DEADLINE, environment, owned};
use crate::support::clients::log::{events, failures_with};
use crate::support::clients::proplet::connect;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::wasm_of_size;

/// What a pipe holds (pipe(7)), bytes.
const PIPE_SIZE: usize = 65_536;
/// Failures of one code on one channel that are logged in a minute.
const MAX_LINES: usize = 100;

/// Standard error is full from the start. Who reads it later finds every line.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(700_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for is_read in [false, true] {
        let (folder, (reader, mut writer)) = (tempfile::tempdir().expect("a folder"), pipe().expect("a pipe"));
        writer.write_all(&vec![b'\n'; PIPE_SIZE]).expect("fill it");
        let mut command = Command::new(BINARY);
        command.env_clear().envs(environment(&mosquitto.address(), registry.host()));
        command.envs([("PROXY_HTTP_PORT", "off"), ("PROXY_LOG_FORMAT", "json")]);
        for name in ["PROXY_CACHE_DIR", "PROXY_STATE_DIR"] {
            command.env(name, folder.path().join(name));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).kill_on_drop(true);
        let client = Client::listening(&mosquitto, &["m/#"]).await;
        let mut process = command.spawn().expect("run the daemon");
        // It holds the other end of the pipe.
        drop(command);
        let is_online = |message: &Message| message.is_presence() && message.json()["online"] == true;
        client.finds("a proxy", |messages| messages.iter().any(is_online).then_some(())).await;
        let proplet = connect(&mosquitto).await;
        assert_eq!(proplet.request("add").await.as_deref(), Some(&module[..]));
        let mut reader = Some(reader);
        let read = is_read.then(|| {
            let mut reader = reader.take().expect("the other end");
            spawn_blocking(move || {
                let mut log = String::new();
                reader.read_to_string(&mut log).map(|_| log)
            })
        });
        let id = process.id().expect("a running daemon").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.expect("run kill").success());
        let status = timeout(STOP_DEADLINE, process.wait()).await.expect("an end").expect("its exit status");
        assert_eq!(status.code(), Some(0));
        if let Some(read) = read {
            let log = read.await.expect("no panic").expect("the log");
            for event in ["subscribed", "requested", "delivered", "stopped"] {
                assert_eq!(events(&log, event).len(), 1, "{event}\n{log}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_is_one_line_whatever_a_name_holds() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let hostile = "add\n2026-01-01T00:00:00Z  INFO forged\u{1b}[31m\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}";
    let endless = format!("{hostile}{}", "x".repeat(3000));
    for format in ["json", "pretty"] {
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.extend(owned(&[("PROXY_LOG_FORMAT", format), ("PROXY_LOG_LEVEL", "debug")]));
        let mut daemon = Daemon::spawn(&variables);
        daemon.prints("subscribed").await;
        let proplet = connect(&mosquitto).await;
        for name in [hostile, &endless] {
            proplet.publish(request(name)).await;
        }
        let both = |log: &str| (log.matches("\"bad-reference\"").count() >= 2).then_some(());
        daemon.finds("two failures", both).await;
        daemon.signal("TERM").await;
        daemon.ended().await;
        let log = daemon.log();
        for line in log.lines() {
            assert!(!line.contains(is_obeyed), "{line:?}");
            assert!(line.len() < 6000, "{} bytes: {line:?}", line.len());
            let is_whole = if format == "json" {
                serde_json::from_str::<Value>(line).is_ok()
            } else {
                line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00Z  INFO forged")
            };
            assert!(is_whole, "{line:?}");
        }
        if format == "json" {
            let names: Vec<_> =
                failures_with(&log, "bad-reference").into_iter().map(|line| line["app_name"].clone()).collect();
            assert!(names.contains(&hostile.into()), "{log}");
            let short =
                names.iter().filter_map(Value::as_str).find(|name| name.ends_with("xxx")).expect("the long name");
            assert!(short.contains("x…x") && short.chars().count() == 1024, "{short}");
        }
    }
}

/// A line tells how many there were, at the end of the daemon at the latest.
#[tokio::test]
async fn failures_of_one_kind_are_logged_so_often_and_then_counted() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let mut daemon = Daemon::between(&mosquitto, &registry).await;
    let client = Client::listening(&mosquitto, &["m/#"]).await;
    let names: Vec<_> = (0..MAX_LINES + 30).map(|number| format!("NO NAME {number}")).collect();
    client.request(CHANNEL, names.iter().map(String::as_str)).await;
    for name in &names {
        assert_eq!(client.outcome(name).await["error"]["code"], "bad-reference");
    }
    daemon.signal("TERM").await;
    daemon.ended().await;
    let log = daemon.log();
    assert_eq!(failures_with(&log, "bad-reference").len(), MAX_LINES, "{log}");
    let told = events(&log, "failures-not-logged");
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&told["code"], &told["failures"]), (&"bad-reference".into(), &30.into()));
    assert_eq!(told["channel"], CHANNEL);
}
