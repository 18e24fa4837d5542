//! `request` and `watch`, and what all commands about channels have in common.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::clients::cli::{Running, Shell};
use crate::support::clients::client::{Client, EVERYTHING};
use crate::support::clients::daemon::{BINARY, CHANNEL, Daemon};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::{digest, free_port, path, wasm_of_size};

async fn servers() -> (Mosquitto, DockerRegistry) {
    (Mosquitto::start().await, DockerRegistry::start().await)
}

#[tokio::test]
async fn one_of_several_channels_must_be_named() {
    let (mosquitto, registry) = servers().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(8)).await;
    let shell = Shell::of(&mosquitto, &registry).with("PROXY_CHANNEL_ID", "one,two");
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let none = shell.run(&["deliver", "add"]).await.ended(2);
    let wrong = shell.run(&["request", "add", "--channel", "three", "-o", "x"]).await.ended(2);
    assert_snapshot!("channels", [none, wrong].map(|ran| ran.shown(&[])).join("\n\n"));
    shell.run(&["deliver", "add", "--channel", "two"]).await.ended(0);
    client.received_all().await;
    let chunks = client.chunks("add");
    assert!(chunks.iter().all(|chunk| chunk.topic.starts_with("m/domain/c/two/")) && chunks.len() == 1);
}

#[tokio::test]
async fn request_writes_a_whole_module_or_nothing() {
    let (mosquitto, registry) = servers().await;
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let shell = Shell::of(&mosquitto, &registry);
    let daemon = Daemon::start(&shell.variables()).await;

    let ran = shell.run(&["request", "add", "-o", "add.wasm"]).await.ended(0);
    assert_eq!(ran.stderr, format!("1200000 bytes, {}, verified\n", digest(&module)));
    assert!(fs::read(shell.path("add.wasm")).expect("the file") == module, "{}", daemon.log());
    let mode = fs::metadata(shell.path("add.wasm")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o700, 0o600, "as other programs make files");

    let ran = shell.run(&["request", "add", "-q", "--layout", "messages"]).await.ended(0);
    assert!(ran.stdout == module && ran.stderr.is_empty(), "{} {}", ran.stdout.len(), ran.stderr);

    let wrong = digest(b"something else");
    let ran = shell.run(&["request", "add", "-o", "add.wasm", "--digest", &wrong]).await.ended(1);
    assert_snapshot!("request_digest", ran.shown(&[]));
    assert!(fs::read(shell.path("add.wasm")).expect("the file") == module, "it is as it was");

    let ran = shell.run(&["request", "nope", "-o", "nope.wasm"]).await.ended(1);
    assert_snapshot!("request_unknown", ran.shown(&[(registry.host(), "REGISTRY")]));
    let asked = daemon.events("requested").len();
    std::os::unix::fs::symlink("nowhere", shell.path("dangling")).expect("make a link");
    for file in ["/dev/null/x", "missing/add.wasm", "dangling"] {
        let ran = shell.run(&["request", "add", "-o", file]).await.ended(1);
        assert!(ran.stderr.starts_with(&format!("error: {file} cannot be written: ")), "{}", ran.stderr);
    }
    assert_eq!(daemon.events("requested").len(), asked, "what cannot be written is not asked for");
    // A link leads to what is replaced, and a device stays what it is.
    fs::remove_file(shell.path("dangling")).expect("remove the link");
    fs::write(shell.path("target"), "old").expect("write the file");
    std::os::unix::fs::symlink("target", shell.path("link")).expect("make a link");
    shell.run(&["request", "add", "-o", "link"]).await.ended(0);
    assert!(fs::symlink_metadata(shell.path("link")).expect("the link").is_symlink());
    assert!(fs::read(shell.path("target")).expect("the file") == module);
    assert!(shell.run(&["request", "add", "-o", "/dev/stdout"]).await.ended(0).stdout == module);
    let pipe = shell.path("pipe");
    let fifo = shell.program("mkfifo", &[path(&pipe)]).status().await.expect("run mkfifo");
    assert!(fifo.success());
    let reading = tokio::task::spawn_blocking({
        let pipe = pipe.clone();
        move || fs::read(pipe).expect("what comes through the pipe")
    });
    shell.run(&["request", "add", "-o", "pipe"]).await.ended(0);
    assert!(reading.await.expect("the reader") == module && !fs::metadata(&pipe).expect("the pipe").is_file());
    let names = fs::read_dir(shell.path("")).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["add.wasm", "cache", "link", "pipe", "state", "target", "tmp"], "no temporary files");
}

/// Brokers may not permit to read the status, by which a module is known.
#[tokio::test]
async fn an_unverified_module_is_reported_even_if_quiet() {
    let (mosquitto, registry) = servers().await;
    let module = wasm_of_size(8);
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let shell = Shell::of(&mosquitto, &registry);
    let answer = async {
        client.finds("the request", |told| told.iter().find(|one| one.is_request()).map(|_| ())).await;
        let data = base64_simd::STANDARD.encode_to_string(&module);
        let chunk = json!({ "app_name": "add", "chunk_idx": 0, "total_chunks": 1, "data": data });
        client.publish(&format!("m/domain/c/{CHANNEL}/registry/server"), chunk.to_string()).await;
    };
    let (ran, ()) = tokio::join!(shell.run(&["request", "add", "-q"]), answer);
    let ran = ran.ended(0);
    assert!(ran.stdout == module);
    assert_snapshot!("request_not_verified", ran.stderr);
}

#[tokio::test]
async fn an_unanswered_request_times_out() {
    let mosquitto = Mosquitto::start().await;
    let shell = Shell::between(&mosquitto.address(), "localhost:1");
    let ran = shell.run(&["request", "add", "-o", "add.wasm", "--timeout", "100ms"]).await.ended(1);
    assert_snapshot!("request_timeout", ran.shown(&[]));
    let mut terminal = shell.program("script", &["-qec", &format!("{BINARY} request add"), "/dev/null"]);
    let output = terminal.output().await.expect("run script");
    assert_eq!(output.status.code(), Some(2), "a terminal is not for modules: {output:?}");
}

#[tokio::test]
async fn an_unreachable_or_rejecting_broker_is_reported() {
    let mosquitto = Mosquitto::with(Options { users: &[("a", "b")], ..Options::default() }).await;
    let away = format!("tcp://127.0.0.1:{}", free_port());
    for command in [&["deliver", "add"][..], &["request", "add", "-o", "x"], &["watch"]] {
        let refused = Shell::between(&mosquitto.address(), "localhost:1").run(command).await.ended(77);
        assert!(refused.stderr.contains("error: broker mqtt://127.0.0.1"), "{command:?}: {}", refused.stderr);
        let shell = Shell::between(&away, "localhost:1").with("PROXY_MQTT_TIMEOUT", "200ms");
        let unreachable = shell.run(command).await.ended(1);
        assert!(unreachable.stderr.contains("within 0.2 s\nhint: check that it runs"), "{}", unreachable.stderr);
        Shell::new().run(command).await.ended(78);
    }
}

#[tokio::test]
async fn watch_prints_a_line_for_each_message_and_survives_a_broker_restart() {
    let (mut mosquitto, registry) = servers().await;
    let shell = Shell::of(&mosquitto, &registry);
    let mut as_json = shell.start(&["watch", "--format", "json"]);
    let mut as_text = shell.start(&["watch"]);
    for watch in [&mut as_json, &mut as_text] {
        watch.says("watching").await;
    }
    let status = |app_name: &str| {
        json!({
            "app_name": app_name, "state": "sending", "digest": digest(b""), "size": 5, "chunk_size": 2, "total_chunks": 3,
            "sent_chunks": 1, "error": null, "instance": "i", "time": "2026-11-22T21:00:00.123Z",
        })
    };
    let topic = format!("m/domain/c/{CHANNEL}/registry/status");
    let told = status("add\u{1b}[2J:1\u{9b}");
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    client.publish(&topic, "no status").await;
    client.publish(&topic, told.to_string()).await;
    let line = as_json.line().await;
    assert!(!line.contains(char::is_control), "{line:?}");
    let mut expected = told.clone();
    expected["domain_id"] = "domain".into();
    expected["channel_id"] = CHANNEL.into();
    expected["layout"] = "plain".into();
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), expected);
    assert_snapshot!("watch_line", as_text.line().await);

    client.close().await;
    mosquitto.restart().await;
    for watch in [&mut as_json, &mut as_text] {
        watch.says("watching").await;
    }
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    client.publish(&topic, status("again").to_string()).await;
    assert!(as_json.line().await.contains("again") && as_text.line().await.contains("again"));
    assert_eq!(as_json.signal("INT").await.code(), Some(0));
    assert_eq!(as_text.signal("INT").await.code(), Some(0));
}

#[tokio::test]
async fn watch_draws_a_table_on_a_terminal() {
    let (mosquitto, registry) = servers().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(8)).await;
    let shell = Shell::of(&mosquitto, &registry);
    let mut terminal = shell.program("script", &["-qec", &format!("{BINARY} watch"), "/dev/null"]);
    terminal.stdin(std::process::Stdio::piped());
    let mut watch = Running::of(terminal);
    watch.prints("watching mqtt://").await;
    shell.run(&["deliver", "add"]).await.ended(0);
    // What is under way has a bar, and what has come to its end stays above.
    watch.prints("channel add \u{2591}").await;
    watch.prints("channel add sent 1 chunk in 1 messages").await;
}
