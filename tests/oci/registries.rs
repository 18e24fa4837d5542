//! Registries with and without authentication and TLS; and failures, which publish a status and no chunk.

use futures_util::future::join_all;
use propeller_proxy::device::Tally;
use propeller_proxy::mqtt::topic::Layout;

use crate::support::clients::proplet::connect_at;
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry, Guard};
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Tls;
use crate::support::servers::token_service::TokenRegistry;
use crate::support::{AUTHENTICATE, Variable, login, path, wasm_of_size};

const TRACE: Variable = ("PROXY_LOG_LEVEL", "trace");

/// Requests a module of a fresh site in both layouts, and sees the failures in the log and nothing on either answer topic.
async fn assert_rejected(site: &Site, app_name: &str, code: &str) {
    let messages = connect_at(site.mosquitto(), Layout::Messages, 2).await;
    messages.publish_request(app_name).await;
    site.daemon().failure(code).await;
    site.rejects(app_name, code).await;
    for proplet in [site.proplet(), &messages] {
        // The broker's answer to this comes after everything that the daemon had published before.
        proplet.publish("{}".into()).await;
        assert_eq!(proplet.tally(), Tally::default(), "{}", site.log());
    }
}

#[tokio::test]
async fn basic_credentials_are_sent_to_the_registry() {
    const PASSWORD: &str = "lovelace: 1815";
    let registry = DockerRegistry::with(Auth::Htpasswd { username: "ada", password: PASSWORD }, None).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    Site::start(registry.host(), &login("ada", PASSWORD)).await.delivers("add", &module).await;
    for variables in [&login("ada", "canary-password")[..], &[]] {
        let site = Site::start(registry.host(), &[&[TRACE], variables].concat()).await;
        assert_rejected(&site, "add", "unauthorized").await;
        assert!(!site.log().contains("canary"), "{}", site.log());
    }
}

#[tokio::test]
async fn credentials_are_exchanged_for_a_token() {
    let registry = TokenRegistry::start("ada", "lovelace").await;
    let module = wasm_of_size(2_000_000);
    registry.push("acme/add", "latest", module.clone()).await;
    Site::start(registry.host(), &login("ada", "lovelace")).await.delivers("acme/add", &module).await;
    assert_eq!(registry.token_requests(), 1, "one token serves the manifest and the blob");

    let site = Site::start(registry.host(), &login("ada", "wrong")).await;
    assert_rejected(&site, "acme/add", "unauthorized").await;
}

#[tokio::test]
async fn public_repositories_are_pulled_with_an_anonymous_token() {
    let registry = TokenRegistry::public("ada", "lovelace").await;
    let module = wasm_of_size(1000);
    registry.push("add", "latest", module.clone()).await;
    Site::start(registry.host(), &[]).await.delivers("add", &module).await;
}

#[tokio::test]
async fn a_static_token_is_sent_unchanged() {
    let registry = FaultyRegistry::guarded(wasm_of_size(1000), [], Guard::Bearer).await;
    let site = Site::start(registry.host(), &[TRACE, AUTHENTICATE, ("PROXY_REGISTRY_TOKEN", "static-token")]).await;
    site.delivers("add", registry.module()).await;
    assert!(registry.credentials().iter().all(|given| given == "Bearer static-token"));
    assert!(!site.log().contains("static-token"), "{}", site.log());
}

#[tokio::test]
async fn a_registry_certificate_is_verified_with_system_roots() {
    let (tls, folder) = (Tls::self_signed(), tempfile::tempdir().expect("a folder for the certificate"));
    let registry = DockerRegistry::with(Auth::None, Some(&tls)).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let (certificate, _) = tls.write(folder.path());

    assert_rejected(&Site::start(&registry.url(), &[]).await, "add", "registry-unreachable").await;
    let site = Site::start(&registry.url(), &[("SSL_CERT_FILE", path(&certificate))]).await;
    site.delivers("add", &module).await;
}

#[tokio::test]
async fn unknown_modules_and_denied_registries_are_rejected() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "1.0", module.clone()).await;
    let stranger = FaultyRegistry::start(module, []).await;
    for (app_name, code) in [
        ("add", "unknown-image"),
        ("subtract:1.0", "unknown-image"),
        (&format!("add@sha256:{}", "0".repeat(64)), "unknown-image"),
        (&format!("{}/add:1.0", stranger.host()), "denied"),
    ] {
        assert_rejected(&Site::start(registry.host(), &[]).await, app_name, code).await;
    }
    assert!(stranger.seen().is_empty(), "a registry that is not ours was asked");
}

#[tokio::test]
async fn bytes_that_fail_verification_are_never_published() {
    let module = wasm_of_size(2_000_000);
    let manifest = FaultyRegistry::start(module.clone(), []).await.manifest_digest();
    let rows = [
        (Fault::Tampered, "add", "digest-mismatch"),
        (Fault::Truncated, "add", "registry-unreachable"),
        (Fault::Short, "add", "size-mismatch"),
        (Fault::Overlong, "add", "size-mismatch"),
        (Fault::ManifestTampered, &format!("add@{manifest}"), "digest-mismatch"),
        (Fault::BlobStatus(403), "add", "unauthorized"),
    ];
    join_all(rows.map(async |(fault, app_name, code)| {
        let registry = FaultyRegistry::start(module.clone(), [fault]).await;
        assert_rejected(&Site::start(registry.host(), &[]).await, app_name, code).await;
    }))
    .await;
}
