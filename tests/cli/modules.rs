//! `push` and `inspect`: modules in registries.

use std::fs;

use insta::assert_snapshot;
use serde_json::json;

use crate::support::clients::artifacts::Artifact;
use crate::support::clients::cli::Shell;
use crate::support::clients::cosign::{Algorithm, Key, payload, signature_tag};
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::{digest, login, path, wasm_of_size};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[tokio::test]
async fn every_pushed_shape_can_be_inspected() {
    let registry = DockerRegistry::start().await;
    let shell = Shell::new();
    let module = wasm_of_size(2000);
    fs::write(shell.path("app.wasm"), &module).expect("write the module");
    for shape in ["wasm-to-oci", "wasm-artifact", "envoy", "image", "untyped"] {
        let reference = format!("{}/acme/app:{shape}", registry.host());
        let pushed = shell.run(&["push", "app.wasm", &reference, "--shape", shape]).await.ended(0);
        let pushed_digest = pushed.text().trim_end();
        assert_eq!(pushed.stderr, format!("pushed app.wasm to {reference} as {shape}\n"));
        let inspected = shell.run(&["inspect", &reference, "--chunk-size", "512"]).await.ended(0);
        assert!(inspected.text().contains(&format!("manifest   {pushed_digest}, ")), "{}", inspected.text());
        // How an image's layer is packed is not ours.
        if shape != "image" {
            assert_snapshot!(format!("inspect_{shape}"), inspected.shown(&[(registry.host(), "REGISTRY")]));
        }
        let inspected = shell.run(&["inspect", &reference, "--format", "json"]).await.ended(0).json();
        assert_eq!(inspected["shape"], shape);
        let of_module = json!({ "digest": digest(&module), "size": 2000, "kind": "core module" });
        assert_eq!(inspected["module"], of_module);
        assert_eq!(inspected["chunks"], json!({ "chunk_size": 512_000, "total": 1 }));
        assert_eq!(inspected["manifest"]["digest"], pushed_digest);
    }
}

#[tokio::test]
async fn push_prints_json_and_sends_credentials() {
    let registry = DockerRegistry::with(Auth::Htpasswd { username: "ada", password: "secret" }, None).await;
    let reference = format!("{}/app:1", registry.host());
    let shell = Shell::new().with("PROXY_REGISTRY_URL", registry.host());
    fs::write(shell.path("app.wasm"), wasm_of_size(8)).expect("write the module");
    let push = ["push", "app.wasm", &reference, "--format", "json", "-q"];
    let refused = shell.run(&push).await.ended(1);
    assert_snapshot!("push_refused", refused.shown(&[(registry.host(), "REGISTRY")]));
    let shell = login("ada", "secret").iter().fold(shell, |shell, (name, value)| shell.with(name, value));
    let pushed = shell.run(&push).await.ended(0);
    assert_snapshot!("push_json", pushed.shown(&[(registry.host(), "REGISTRY")]));
}

#[tokio::test]
async fn a_file_that_is_no_module_is_not_pushed() {
    let shell = Shell::new();
    fs::write(shell.path("text.wasm"), "text").expect("write the file");
    let shown = async |file: &str, reference: &str, status: i32| {
        shell.run(&["push", file, reference]).await.ended(status).shown(&[])
    };
    let all = [
        shown("text.wasm", "localhost:1/app", 1).await,
        shown("absent.wasm", "localhost:1/app", 1).await,
        shown("text.wasm", "app", 78).await,
        shown("text.wasm", "localhost:1/App", 1).await,
    ];
    assert_snapshot!("push_errors", all.join("\n\n"));
}

/// Only the first bytes of the layer are fetched, and nothing from a store that has it.
#[tokio::test]
async fn inspect_does_not_fetch_a_large_module() {
    for fault in [Fault::None, Fault::WithoutRange] {
        let registry = FaultyRegistry::start(wasm_of_size(50_000_000), [fault.clone()]).await;
        let shell = Shell::new();
        let reference = format!("{}/app:1", registry.host());
        let inspected = shell.run(&["inspect", &reference, "--format", "json"]).await.ended(0).json();
        assert_eq!((&inspected["module"]["size"], &inspected["chunks"]["total"]), (&json!(50_000_000), &json!(98)));
        assert_eq!(inspected["module"]["kind"], "core module");
        assert!(registry.blob_bytes() < 25_000_000, "{fault:?}: {} bytes", registry.blob_bytes());
        let ranges: Vec<_> = registry.seen_for("/blobs/").into_iter().map(|seen| seen.range).collect();
        assert_eq!(ranges, [Some("bytes=0-7".to_owned())]);
    }
}

#[tokio::test]
async fn inspect_fails_for_a_module_that_cannot_be_delivered() {
    let registry = DockerRegistry::start().await;
    let shell = Shell::new();
    for (name, bytes) in [("component", COMPONENT), ("text", b"#!/bin/sh")] {
        Artifact::wasm(bytes).push(registry.pusher(), name, "1").await;
    }
    let [component, text] = ["component", "text"].map(|name| format!("{}/{name}:1", registry.host()));
    let inspected = shell.run(&["inspect", &component, "--format", "json"]).await.ended(0).json();
    assert_eq!(inspected["module"]["kind"], "component");
    let not_wasm = shell.run(&["inspect", &text]).await.ended(1);
    let too_large = shell.run(&["inspect", &component, "--max-module-size", "7"]).await.ended(1);
    assert_snapshot!("inspect_not_delivered", [not_wasm, too_large].map(|ran| ran.shown(&[])).join("\n\n"));
}

#[tokio::test]
async fn inspect_shows_the_selected_manifest_and_its_annotations() {
    let registry = DockerRegistry::start().await;
    let shell = Shell::new();
    let wasm = Artifact::new("application/vnd.wasm.config.v0+json", "{}")
        .file("app\u{1b}[2J\u{9b}.wasm", "application/wasm", wasm_of_size(100))
        .annotated("org.opencontainers.image.source", "https://example.com/\u{1b}[31m\u{7f}");
    let index = Artifact::index().with("linux/amd64", Artifact::image(&json!({}))).with("wasip1/wasm", wasm);
    index.push(registry.pusher(), "app", "1").await;
    let reference = format!("{}/app:1", registry.host());
    let text = shell.run(&["inspect", &reference]).await.ended(0);
    assert_snapshot!("inspect_index", text.shown(&[(registry.host(), "REGISTRY")]));
    let json = shell.run(&["inspect", &reference, "--format", "json"]).await.ended(0);
    assert!(!json.text().contains(|c: char| c.is_control() && c != '\n'), "{}", json.text());
    let source = &json.json()["annotations"]["org.opencontainers.image.source"];
    assert_eq!(source, "https://example.com/\u{1b}[31m\u{7f}");

    let ambiguous = Artifact::index()
        .with("wasip1/wasm", Artifact::wasm(&wasm_of_size(100)))
        .with("wasip2/wasm", Artifact::wasm(&wasm_of_size(200)));
    ambiguous.push(registry.pusher(), "two", "1").await;
    let ran = shell.run(&["inspect", &format!("{}/two:1", registry.host())]).await.ended(1);
    assert_snapshot!("inspect_ambiguous", ran.shown(&[(registry.host(), "REGISTRY")]));
}

/// It reports the signatures, and does not judge them.
#[tokio::test]
async fn inspect_reports_signatures() {
    let registry = DockerRegistry::start().await;
    let [key, other] = [Algorithm::P256, Algorithm::P256].map(Key::new);
    let [signed, unsigned] = [100, 200].map(|size| Artifact::wasm(&wasm_of_size(size)));
    signed.push(registry.pusher(), "signed", "1").await;
    key.simple_signing(&payload(&signed.digest())).push(registry.pusher(), "signed", &signature_tag(&signed)).await;
    unsigned.push(registry.pusher(), "unsigned", "1").await;
    for (name, key, state) in [
        ("signed", None, "not-checked"),
        ("signed", Some(&key), "verified"),
        ("signed", Some(&other), "bad-signature"),
        ("unsigned", Some(&key), "unsigned"),
    ] {
        let shell = Shell::new();
        let file = key.map(Key::public);
        let mut arguments = vec!["inspect".to_owned(), format!("{}/{name}:1", registry.host())];
        arguments.extend(file.iter().flat_map(|file| ["--verify-key".to_owned(), path(file).to_owned()]));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let ran = shell.run(&arguments).await.ended(0);
        assert!(ran.text().contains(&format!("signature  {state}\n")), "{name}: {}", ran.text());
    }
}

#[tokio::test]
async fn errors_have_hints() {
    let registry = DockerRegistry::start().await;
    let shell = Shell::new();
    let unknown = shell.run(&["inspect", &format!("{}/nope:1", registry.host())]).await.ended(1);
    let elsewhere = Shell::new().with("PROXY_REGISTRY_URL", "localhost:1");
    let denied = elsewhere.run(&["inspect", "ghcr.io/acme/app:1"]).await.ended(1);
    let away = shell.run(&["inspect", "localhost:1/app:1", "--fetch-timeout", "200ms"]).await.ended(1);
    let short = shell.run(&["inspect", "app:1"]).await.ended(78);
    let shown = [unknown, denied, away, short].map(|ran| ran.shown(&[(registry.host(), "REGISTRY")]));
    assert_snapshot!("inspect_errors", shown.join("\n\n"));
}
