//! `propeller-proxy demo` delivers and verifies with nothing installed.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::clients::daemon::BINARY;
use crate::support::{path, wasm_of_size};

async fn demo(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("demo").args(arguments).env_clear().output().await.expect("run the demo")
}

#[tokio::test]
async fn the_demo_prints_a_table_of_verified_modules() {
    let output = demo(&[]).await;
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("| module ") && rows[0].ends_with("| digest   |"), "{table}");
    assert!(rows[2].contains("/add:1.0 ") && rows[2].contains("|      41 |      1 |"), "{table}");
    assert!(rows[3].contains("/five-megabytes:1.0 ") && rows[3].contains("| 5000000 |     10 |"), "{table}");
    assert_eq!(table.matches("| verified |").count(), 2, "{table}");
}

#[tokio::test]
async fn the_demo_prints_json() {
    let output = demo(&["--format", "json", "-q"]).await;
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((&rows[0]["size"], &rows[1]["size"], &rows[1]["chunks"]), (&json!(41), &json!(5_000_000), &json!(10)));
    assert!(rows.as_array().expect("rows").iter().all(|row| row["verified"] == true), "{rows}");
}

#[tokio::test]
async fn the_demo_delivers_a_given_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("My App.v2.wasm");
    std::fs::write(&file, wasm_of_size(700_000)).expect("write the module");
    let output = demo(&["--wasm", path(&file)]).await;
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{table}");
    assert!(
        table.lines().any(|row| row.contains("/your/my-app-v2:1.0") && row.contains("|  700000 |      2 |")),
        "{table}"
    );
}

/// Its registry is on this machine, and no proxy stands between.
#[tokio::test]
async fn the_demo_ignores_http_proxies_of_the_environment() {
    let mut command = Command::new(BINARY);
    command.arg("demo").env_clear().env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    assert!(command.output().await.expect("run the demo").status.success());
}

#[tokio::test]
async fn the_demo_rejects_a_file_that_is_no_module() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text.wasm");
    std::fs::write(&file, "text").expect("write the file");
    for (file, complaint) in [(path(&file), "is not a WebAssembly binary"), ("/absent", "cannot be read")] {
        let output = demo(&["--wasm", file]).await;
        assert_eq!(output.status.code(), Some(1));
        let complaints = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(complaints.starts_with("error: ") && complaints.contains(complaint), "{complaints}");
    }
}

#[tokio::test]
async fn the_demo_runs_until_ctrl_c_with_keep() {
    let mut process = Command::new(BINARY)
        .args(["demo", "--keep"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("run the demo");
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let mut command = None;
    while let Some(line) = lines.next_line().await.expect("a line") {
        if let Some(url) = line.trim().strip_prefix("curl ") {
            command = Some(url.to_owned());
            break;
        }
    }
    let catalog = crate::support::clients::push::client(None)
        .get(command.expect("a curl command"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(catalog.text().await.expect("a body"), r#"{"repositories":["add","five-megabytes"]}"#);
    let id = process.id().expect("a running demo").to_string();
    Command::new("kill").args(["-INT", &id]).status().await.expect("run kill");
    assert_eq!(process.wait().await.expect("its end").code(), Some(0));
}
