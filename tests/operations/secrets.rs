//! Secrets stay out of the log, at its finest level, and out of all that is published, whatever goes wrong. One canary
//! stands in for all of them.

use std::collections::BTreeSet;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::clients::client::{Client, EVERYTHING};
use crate::support::clients::daemon::{CHANNEL, Daemon, environment, owned};
use crate::support::clients::helper::Helper;
use crate::support::clients::log::{events, failures};
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry, Guard};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Authority;
use crate::support::servers::token_service::TokenRegistry;
use crate::support::{AUTHENTICATE, Variable, free_port, login, path, wasm_of_size, write};

const CANARY: &str = "canary-7Q2xv9";
const TRACE: (&str, &str) = ("PROXY_LOG_LEVEL", "trace");

/// Returns how a text shows the canary: as it is, or anywhere in base64.
fn traces() -> BTreeSet<String> {
    let encoded = (0..3).flat_map(|before| {
        let text = ["x".repeat(before).as_str(), CANARY].concat();
        // The characters that hold bits of nothing but the canary.
        let (start, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        [STANDARD.encode_to_string(&text), URL_SAFE_NO_PAD.encode_to_string(&text)]
            .map(|encoded| encoded[start..end].to_owned())
    });
    encoded.chain([CANARY.to_owned()]).collect()
}

/// The canary is not in a log, or in the text of all that was published.
fn assert_silent(text: &str, situation: &str) {
    assert!(!text.is_empty(), "{situation}: there is nothing");
    for trace in traces() {
        let line = text.lines().find(|line| line.contains(&trace));
        assert_eq!(line, None, "{situation}: there is the canary");
    }
}

/// No line of the body of a key in PEM is in the log.
fn assert_keeps(log: &str, key: &str) {
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!log.contains(line), "the log has a line of the key");
    }
}

#[test]
fn the_check_finds_the_canary_in_every_form() {
    for before in ["", "a:", "ab:", "abc:"] {
        let text = format!("{before}{CANARY}:after");
        for shown in [text.clone(), STANDARD.encode_to_string(&text), URL_SAFE_NO_PAD.encode_to_string(&text)] {
            assert!(traces().iter().any(|trace| shown.contains(trace)), "{shown}");
        }
    }
}

/// What the registry may do, each time for a repository that was not requested before.
fn faults(trap: &FaultyRegistry) -> Vec<Fault> {
    let closed = free_port();
    let [by_http, by_https, signed, realm] = [
        format!("http://ada:{CANARY}@127.0.0.1:{closed}/blob"),
        format!("https://ada:{CANARY}@127.0.0.1:{closed}/blob"),
        format!("{}/v2/elsewhere/blobs/sha256:0?signature={CANARY}#{CANARY}", trap.url()),
        format!("http://ada:{CANARY}@127.0.0.1:{closed}/token?key={CANARY}"),
    ];
    vec![
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(500),
        Fault::ManifestTampered,
        Fault::HugeManifest,
        Fault::BlobStatus(401),
        Fault::BlobStatus(403),
        Fault::Tampered,
        Fault::Truncated,
        Fault::RedirectTo(by_http.clone()),
        Fault::RedirectTo(by_https),
        Fault::RedirectTo(signed.clone()),
        Fault::ManifestRedirectTo(by_http.clone()),
        Fault::ForeignRealm(format!("{}/token", trap.url())),
        Fault::ForeignRealm(realm),
        Fault::TokenRedirectTo(by_http),
        Fault::TokenStatus(401),
        Fault::TokenStatus(500),
        Fault::EndlessToken,
        Fault::TokenWithNewline,
        // The last one: it does not keep the module away.
        Fault::ForeignUrls(vec![signed]),
    ]
}

/// Requests a module through every fault and without one, and from a registry that is not there.
async fn assert_silent_throughout(kind: &str, variables: &[(&'static str, &str)]) {
    /// The faults are many, and some of them take their time.
    const AT_ONCE: usize = 4;
    let module = wasm_of_size(1000);
    let trap = FaultyRegistry::start(module.clone(), [Fault::BlobStatus(403)]).await;
    let proxy = format!("http://ada:{CANARY}@127.0.0.1:{}", free_port());
    let more = [
        TRACE,
        AUTHENTICATE,
        ("PROXY_REGISTRY_ALLOW", trap.host()),
        ("PROXY_CLIENT_ID", "proxy"),
        ("PROXY_CLIENT_KEY", CANARY),
        ("HTTPS_PROXY", &proxy),
        ("https_proxy", &proxy),
    ];
    let variables = [variables, &more].concat();
    let faults = faults(&trap);
    let through_faults = join_all(faults.chunks(faults.len().div_ceil(AT_ONCE)).map(async |faults| {
        let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Bearer).await;
        let site = Site::start(registry.host(), &variables).await;
        let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
        for (index, fault) in faults.iter().enumerate() {
            registry.set([fault.clone()]);
            // Some kinds of credentials do not meet every fault.
            let _outcome = site.request(&format!("repository-{index}")).await;
            assert_silent(&site.log(), &format!("{kind}, {fault:?}"));
        }
        registry.set([]);
        site.delivers("add", &module).await;
        assert_silent(&site.log(), &format!("{kind}, success"));
        client.state("add", "sent").await;
        assert_silent(&client.text(), &format!("{kind}, published"));
    }));
    let unreachable = join_all(["http", "https"].map(async |scheme| {
        let site = Site::start(&format!("{scheme}://127.0.0.1:{}", free_port()), &variables).await;
        let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
        assert!(site.request("add").await.is_err(), "nobody answers");
        assert_silent(&site.log(), &format!("{kind}, unreachable by {scheme}"));
        client.state("add", "failed").await;
        assert_silent(&client.text(), &format!("{kind}, unreachable by {scheme}, published"));
    }));
    tokio::join!(through_faults, unreachable);
}

#[tokio::test]
async fn credentials_for_registries_are_never_logged() {
    let by_password = Helper::new(&format!(r#"echo {CANARY} >&2; echo '{{"Username":"ada","Secret":"{CANARY}"}}'"#));
    let by_identity = Helper::answering("<token>", CANARY);
    let [password_file, identity_file] = [&by_password, &by_identity].map(Helper::config_for_all);
    let kinds: [(&str, &[Variable]); 5] = [
        ("password", &login("ada", CANARY)),
        ("token", &[("PROXY_REGISTRY_TOKEN", CANARY)]),
        ("identity token", &[("PROXY_REGISTRY_IDENTITY_TOKEN", CANARY)]),
        ("helper", &[("PROXY_REGISTRY_AUTH_FILE", &password_file), ("PATH", &by_password.path)]),
        ("helper with identity token", &[("PROXY_REGISTRY_AUTH_FILE", &identity_file), ("PATH", &by_identity.path)]),
    ];
    join_all(kinds.map(|(kind, variables)| assert_silent_throughout(kind, variables))).await;
}

/// Each row: an entry of a configuration file, usable or not.
#[tokio::test]
async fn entries_of_a_docker_configuration_file_are_never_logged() {
    let module = wasm_of_size(1000);
    let encoded = STANDARD.encode_to_string(format!("ada:{CANARY}"));
    for entry in [
        json!({ "auth": encoded }),
        json!({ "username": "ada", "password": CANARY }),
        json!({ "identitytoken": CANARY }),
        json!({ "registrytoken": CANARY }),
        json!({ "registrytoken": format!("{CANARY}\nx") }),
        json!({ "auth": format!("{CANARY}, not base64") }),
        json!({ "auth": STANDARD.encode_to_string(CANARY) }),
        json!({ "auth": [CANARY] }),
        json!({ "username": CANARY, "password": { "text": CANARY } }),
    ] {
        for (guard, fault) in
            [(Guard::Basic, Fault::None), (Guard::Bearer, Fault::None), (Guard::Bearer, Fault::Status(401))]
        {
            let registry = FaultyRegistry::guarded(module.clone(), [fault], guard).await;
            let folder = tempfile::tempdir().expect("a folder");
            let config = json!({ "auths": { (registry.host()): entry } });
            let file = write(folder.path(), "config.json", &config.to_string());
            let variables = [TRACE, AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", &*file)];
            assert_silent_for_one_request(registry.host(), &variables, &format!("{entry} with {guard:?}")).await;
        }
    }
}

/// Runs a daemon, which may not start, and requests a module if it does.
async fn assert_silent_for_one_request(registry: &str, variables: &[(&'static str, &str)], situation: &str) {
    let mosquitto = Mosquitto::start().await;
    let mut all = environment(&mosquitto.address(), registry);
    all.extend(owned(variables));
    let daemon = Daemon::spawn(&all);
    let is_subscribed = |log: &str| match events(log, "subscribed").first() {
        Some(_) => Some(true),
        None => log.contains("error: ").then_some(false),
    };
    if daemon.finds("subscription or error", is_subscribed).await {
        let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
        client.request(CHANNEL, ["add"]).await;
        let outcome = |log: &str| events(log, "delivered").pop().or_else(|| failures(log).next());
        daemon.finds("outcome", outcome).await;
        client.outcome("add").await;
        assert_silent(&client.text(), &format!("{situation}, published"));
    }
    assert_silent(&daemon.log(), situation);
}

/// The tokens that a service gives are secrets, too.
#[tokio::test]
async fn tokens_are_never_logged() {
    let registry = TokenRegistry::start("ada", CANARY).await;
    let module = wasm_of_size(1000);
    registry.push("add", "1.0", module.clone()).await;
    registry.push("add", "1.1", module.clone()).await;
    let site = Site::start(registry.host(), &[&[TRACE][..], &login("ada", CANARY)].concat()).await;
    let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
    site.delivers("add:1.0", &module).await;
    registry.revoke_for_good();
    site.rejects("add:1.1", "unauthorized").await;
    client.state("add:1.1", "failed").await;
    assert!(registry.issued().len() >= 2);
    for text in [site.log(), client.text()] {
        for token in registry.issued() {
            assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
        }
        assert_silent(&text, "a token service");
    }
}

/// Each row: whose client certificate is shown; the registry lets in the first one's.
#[tokio::test]
async fn the_client_key_is_never_logged() {
    let authority = Authority::new();
    let registry = DockerRegistry::for_clients_of(&authority).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for (client, welcome) in [(authority.client(), true), (Authority::new().client(), false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let trusted = write(folder.path(), "authority.pem", &authority.certificate());
        let (certificate, key) = client.write(folder.path());
        let variables = [
            TRACE,
            ("PROXY_REGISTRY_CA_CERT", &*trusted),
            ("PROXY_REGISTRY_CLIENT_CERT", path(&certificate)),
            ("PROXY_REGISTRY_CLIENT_KEY", path(&key)),
        ];
        let site = Site::start(&registry.url(), &variables).await;
        assert_eq!(site.request("add").await.is_ok(), welcome, "{}", site.log());
        assert_keeps(&site.log(), &client.key);
    }
}

/// A proxy that is not there, and one that does not do as a proxy should.
#[tokio::test]
async fn the_password_of_an_http_proxy_is_never_logged() {
    let no_proxy = FaultyRegistry::start(wasm_of_size(1000), [Fault::Status(407)]).await;
    for (host, path) in
        [(format!("127.0.0.1:{}", free_port()), ""), (no_proxy.host().to_owned(), ""), ("[".into(), "/")]
    {
        let proxy = format!("http://ada:{CANARY}@{host}{path}");
        for registry in ["https://registry.invalid", "http://registry.invalid"] {
            let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
            let variables: Vec<_> = names.map(|name| (name, &*proxy)).into_iter().chain([TRACE]).collect();
            assert_silent_for_one_request(registry, &variables, &format!("{registry} by {host}")).await;
        }
    }
}

#[tokio::test]
async fn the_key_for_the_broker_is_never_logged() {
    let users = [("proxy", CANARY)];
    let mosquitto = Mosquitto::with(Options { users: &users, ..Options::default() }).await;
    let absent = format!("tcp://127.0.0.1:{}", free_port());
    for (address, key, event) in [
        (mosquitto.address(), CANARY.to_owned(), Some("subscribed")),
        (mosquitto.address(), format!("{CANARY}-wrong"), None),
        (absent, CANARY.to_owned(), Some("connection-failed")),
    ] {
        let mut variables = environment(&address, "localhost:5000");
        variables.extend([
            ("PROXY_CLIENT_ID", "proxy".to_owned()),
            ("PROXY_CLIENT_KEY", key),
            ("PROXY_LOG_LEVEL", "trace".to_owned()),
        ]);
        let daemon = Daemon::spawn(&variables);
        match event {
            Some(event) => drop(daemon.event(event).await),
            None => daemon.prints("error: broker").await,
        }
        assert_silent(&daemon.log(), event.unwrap_or("error"));
    }
}

/// Each row: variables that cannot be used and what they hold, by mistake perhaps.
#[tokio::test]
async fn a_bad_configuration_is_reported_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    let broken_key = &*write(folder.path(), "key.pem", &pem);
    let broken_file = &*write(folder.path(), "config.json", &format!("{{\"auths\": {{\"{CANARY}\": {CANARY}"));
    let certificate = &*write(folder.path(), "certificate.pem", &Authority::new().client().certificate);
    let with_break = &*format!("{CANARY}\nx");
    let user = &*format!("ada:{CANARY}@host.example");
    let http_user = &*format!("http://{user}");
    let pair = &*format!("registry.example={user}");
    let http_pair = &*format!("registry.example={http_user}");
    for (variables, name) in [
        (&[("PROXY_REGISTRY_URL", http_user)][..], "PROXY_REGISTRY_URL"),
        (&[("PROXY_REGISTRY_URL", user)], "PROXY_REGISTRY_URL"),
        (&[("PROXY_MQTT_ADDRESS", &format!("tcp://{user}"))], "PROXY_MQTT_ADDRESS"),
        (&[("PROXY_REGISTRY_ALLOW", user)], "PROXY_REGISTRY_ALLOW"),
        (&[("PROXY_REGISTRY_ALLOW", &format!("ghcr.io,{http_user}"))], "PROXY_REGISTRY_ALLOW"),
        (&[("PROXY_REGISTRY_TOKEN_SERVICES", pair)], "PROXY_REGISTRY_TOKEN_SERVICES"),
        (&[("PROXY_REGISTRY_MIRRORS", pair)], "PROXY_REGISTRY_MIRRORS"),
        (&[("PROXY_REGISTRY_MIRRORS", http_pair)], "PROXY_REGISTRY_MIRRORS"),
        (&login("ada", with_break), "PROXY_REGISTRY_PASSWORD"),
        (&[AUTHENTICATE, ("PROXY_REGISTRY_PASSWORD", CANARY)], "PROXY_REGISTRY_USERNAME"),
        (&[AUTHENTICATE, ("PROXY_REGISTRY_TOKEN", with_break)], "PROXY_REGISTRY_TOKEN"),
        (&[AUTHENTICATE, ("PROXY_REGISTRY_IDENTITY_TOKEN", with_break)], "PROXY_REGISTRY_IDENTITY_TOKEN"),
        (&[AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", broken_file)], "PROXY_REGISTRY_AUTH_FILE"),
        (&[("PROXY_CLIENT_KEY", CANARY)], "PROXY_CLIENT_ID"),
        (
            &[("PROXY_REGISTRY_CLIENT_CERT", certificate), ("PROXY_REGISTRY_CLIENT_KEY", broken_key)],
            "PROXY_REGISTRY_CLIENT_KEY",
        ),
        // The key itself where its path belongs.
        (
            &[("PROXY_REGISTRY_CLIENT_CERT", certificate), ("PROXY_REGISTRY_CLIENT_KEY", &pem)],
            "PROXY_REGISTRY_CLIENT_KEY",
        ),
        // The private key where the public one belongs.
        (&[("PROXY_VERIFY_KEY", &pem)], "PROXY_VERIFY_KEY"),
        (&[("PROXY_VERIFY_KEY", broken_key)], "PROXY_VERIFY_KEY"),
    ] {
        let log = Daemon::misconfigured(&[&[TRACE], variables].concat()).await;
        assert!(log.contains(name), "{name}: {log}");
        assert_silent(&log, name);
    }
}
