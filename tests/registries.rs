//! Registries with and without authentication and TLS; and failures, which publish nothing and say so.

use propeller_proxy::embedded::proplet::Tally;
use propeller_proxy::topic::Layout;

use crate::support::daemon::{Daemon, environment};
use crate::support::docker_registry::{Auth, DockerRegistry};
use crate::support::faulty_registry::{Fault, FaultyRegistry, Guard};
use crate::support::mosquitto::Mosquitto;
use crate::support::proplet::{connect, connect_at};
use crate::support::tls::Tls;
use crate::support::token_service::{self, TokenRegistry};
use crate::support::wasm_of_size;

fn with_credentials(variables: &mut Vec<(&'static str, String)>, username: &str, password: &str) {
    variables.push(("PROXY_AUTHENTICATE", "TRUE".into()));
    variables.push(("PROXY_REGISTRY_USERNAME", username.into()));
    variables.push(("PROXY_REGISTRY_PASSWORD", password.into()));
}

/// Asks, and sees the failure in the log and nothing on either answer topic.
async fn assert_refused(mosquitto: &Mosquitto, daemon: &Daemon, app_name: &str, code: &str) {
    let (plain, messages) = (connect(mosquitto).await, connect_at(mosquitto, Layout::Messages, 2).await);
    plain.ask(app_name).await;
    messages.ask(app_name).await;
    daemon.logged_times(&format!("\"code\":\"{code}\""), 2).await;
    let log = daemon.log();
    assert!(!log.contains("\"delivered\""), "{log}");
    for proplet in [plain, messages] {
        // The broker's answer to this comes after everything that the daemon had published before.
        proplet.publish("{}".into()).await;
        assert_eq!(proplet.tally(), Tally::default(), "{log}");
    }
}

#[tokio::test]
async fn a_registry_with_user_names_is_given_ours() {
    let mosquitto = Mosquitto::start().await;
    let auth = Auth::Htpasswd { username: "ada", password: "lovelace: 1815" };
    let registry = DockerRegistry::with(auth, None).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;

    let mut variables = environment(&mosquitto.address(), registry.host());
    with_credentials(&mut variables, "ada", "lovelace: 1815");
    let _daemon = Daemon::start(&variables).await;
    assert!(connect(&mosquitto).await.request("add").await.as_deref() == Some(&module[..]));
}

#[tokio::test]
async fn wrong_or_no_credentials_are_refused_and_not_shown() {
    let mosquitto = Mosquitto::start().await;
    let registry = DockerRegistry::with(Auth::Htpasswd { username: "ada", password: "right" }, None).await;
    registry.pusher().wasm("add", "latest", wasm_of_size(1000)).await;
    for password in [Some("canary-password"), None] {
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.push(("PROXY_LOG_LEVEL", "trace".into()));
        if let Some(password) = password {
            with_credentials(&mut variables, "ada", password);
        }
        let daemon = Daemon::start(&variables).await;
        assert_refused(&mosquitto, &daemon, "add", "unauthorized").await;
        assert!(!daemon.log().contains("canary"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn a_token_service_gets_the_credentials_and_gives_a_token() {
    let mosquitto = Mosquitto::start().await;
    let registry = TokenRegistry::start("ada", "lovelace").await;
    let module = wasm_of_size(2_000_000);
    registry.push("acme/add", "latest", module.clone()).await;
    let before = registry.token_requests();

    let mut variables = environment(&mosquitto.address(), registry.host());
    with_credentials(&mut variables, "ada", "lovelace");
    let daemon = Daemon::start(&variables).await;
    assert!(connect(&mosquitto).await.request("acme/add").await.as_deref() == Some(&module[..]), "{}", daemon.log());
    assert_eq!(registry.token_requests() - before, 1, "one token serves the manifest and the blob");
    drop(daemon);

    let mut variables = environment(&mosquitto.address(), registry.host());
    with_credentials(&mut variables, "ada", "wrong");
    let daemon = Daemon::start(&variables).await;
    assert_refused(&mosquitto, &daemon, "acme/add", "unauthorized").await;
}

#[tokio::test]
async fn a_token_service_gives_strangers_a_token_for_public_repositories() {
    let mosquitto = Mosquitto::start().await;
    let registry = TokenRegistry::with(token_service::Options {
        username: "ada",
        password: "lovelace",
        anonymous_pull: true,
        lifetime: std::time::Duration::from_secs(300),
    })
    .await;
    let module = wasm_of_size(1000);
    registry.push("add", "latest", module.clone()).await;
    let _daemon = Daemon::start(&environment(&mosquitto.address(), registry.host())).await;
    assert!(connect(&mosquitto).await.request("add").await.as_deref() == Some(&module[..]));
}

#[tokio::test]
async fn a_static_token_is_given_as_it_is() {
    let mosquitto = Mosquitto::start().await;
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Bearer).await;
    let mut variables = environment(&mosquitto.address(), registry.host());
    variables.push(("PROXY_AUTHENTICATE", "1".into()));
    variables.push(("PROXY_REGISTRY_TOKEN", "static-token".into()));
    variables.push(("PROXY_LOG_LEVEL", "trace".into()));
    let daemon = Daemon::start(&variables).await;
    assert!(connect(&mosquitto).await.request("add").await.as_deref() == Some(&module[..]));
    assert!(registry.credentials().iter().all(|given| given == "Bearer static-token"));
    assert!(!daemon.log().contains("static-token"), "{}", daemon.log());
}

#[tokio::test]
async fn a_registry_with_tls_is_trusted_by_the_roots_of_the_system() {
    let mosquitto = Mosquitto::start().await;
    let tls = Tls::self_signed();
    let registry = DockerRegistry::with(Auth::None, Some(&tls)).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let folder = tempfile::tempdir().expect("a folder for the certificate");
    let (certificate, _) = tls.write(folder.path());

    let url = format!("https://{}", registry.host());
    let mut variables = environment(&mosquitto.address(), &url);
    let daemon = Daemon::start(&variables).await;
    assert_refused(&mosquitto, &daemon, "add", "registry-unreachable").await;
    drop(daemon);

    variables.push(("SSL_CERT_FILE", certificate.display().to_string()));
    let daemon = Daemon::start(&variables).await;
    assert!(connect(&mosquitto).await.request("add").await.as_deref() == Some(&module[..]), "{}", daemon.log());
}

#[tokio::test]
async fn what_the_registry_does_not_have_or_must_not_be_asked_is_refused() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "1.0", module.clone()).await;
    let stranger = FaultyRegistry::start(module, []).await;
    let absent = format!("add@sha256:{}", "0".repeat(64));
    for (app_name, code) in [
        ("add", "unknown-image"),
        ("subtract:1.0", "unknown-image"),
        (&absent, "unknown-image"),
        (&format!("{}/add:1.0", stranger.host()), "denied"),
    ] {
        let daemon = Daemon::between(&mosquitto, &registry).await;
        assert_refused(&mosquitto, &daemon, app_name, code).await;
    }
    assert!(stranger.seen().is_empty(), "a registry that is not ours was asked");
}

#[tokio::test]
async fn bytes_that_the_registry_does_not_vouch_for_are_never_published() {
    let mosquitto = Mosquitto::start().await;
    let module = wasm_of_size(2_000_000);
    let manifest = FaultyRegistry::start(module.clone(), []).await.manifest_digest();
    for (fault, app_name, code) in [
        (Fault::Tampered, "add", "digest-mismatch"),
        (Fault::Truncated, "add", "registry-unreachable"),
        (Fault::Short, "add", "size-mismatch"),
        (Fault::Overlong, "add", "size-mismatch"),
        (Fault::ManifestTampered, &format!("add@{manifest}"), "digest-mismatch"),
        (Fault::HugeManifest, "add", "too-large"),
        (Fault::Status(500), "add", "registry-answer"),
        (Fault::BlobStatus(403), "add", "unauthorized"),
    ] {
        let registry = FaultyRegistry::start(module.clone(), [fault.clone(), fault.clone()]).await;
        let daemon = Daemon::start(&environment(&mosquitto.address(), registry.host())).await;
        assert_refused(&mosquitto, &daemon, app_name, code).await;
    }
}

#[tokio::test]
async fn what_is_not_wasm_is_not_published() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    for (repository, bytes) in [("text", "not a module"), ("short", "\0as")] {
        registry.pusher().wasm(repository, "latest", bytes.into()).await;
        let daemon = Daemon::between(&mosquitto, &registry).await;
        assert_refused(&mosquitto, &daemon, repository, "not-wasm").await;
    }
}

#[tokio::test]
async fn tokens_that_cannot_be_used_are_refused_and_credentials_go_nowhere_else() {
    let mosquitto = Mosquitto::start().await;
    let module = wasm_of_size(1000);
    let trap = FaultyRegistry::start(module.clone(), []).await;
    for (fault, code) in [
        (Fault::EndlessToken, "too-large"),
        (Fault::TokenWithNewline, "unauthorized"),
        (Fault::ForeignRealm(format!("{}/token", trap.url())), "denied"),
    ] {
        let registry = FaultyRegistry::guarded(module.clone(), [fault.clone(), fault.clone()], Guard::Bearer).await;
        let mut variables = environment(&mosquitto.address(), registry.host());
        variables.push(("PROXY_LOG_LEVEL", "trace".into()));
        with_credentials(&mut variables, "ada", "canary-password");
        let daemon = Daemon::start(&variables).await;
        assert_refused(&mosquitto, &daemon, "add", code).await;
        assert!(!daemon.log().contains("canary"), "{}", daemon.log());
    }
    assert!(trap.seen().is_empty(), "credentials went to a foreign token service");
}

/// Where the registry redirects to without TLS, inside the operator's network perhaps, nothing is asked.
#[tokio::test]
async fn redirects_to_another_host_without_tls_are_refused() {
    let mosquitto = Mosquitto::start().await;
    let module = wasm_of_size(1000);
    let trap = FaultyRegistry::guarded(module.clone(), [], Guard::Bearer).await;
    let fault = Fault::RedirectTo(trap.blob_url());
    let registry = FaultyRegistry::guarded(module, [fault.clone(), fault], Guard::Basic).await;
    let mut variables = environment(&mosquitto.address(), registry.host());
    with_credentials(&mut variables, "ada", "lovelace");
    let daemon = Daemon::start(&variables).await;
    assert_refused(&mosquitto, &daemon, "add", "registry-unreachable").await;
    assert!(daemon.log().contains("redirected to another host without TLS"), "{}", daemon.log());
    assert!(trap.seen().is_empty(), "the redirect was followed");
}
