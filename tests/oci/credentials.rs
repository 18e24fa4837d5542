//! Credentials: their sources, which hosts get them, and how long a token lasts.

use std::fs;
use std::time::Duration;

use base64_simd::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::support::clients::daemon::Daemon;
use crate::support::clients::helper::Helper;
use crate::support::faults::faulty_registry::{FaultyRegistry, Guard};
use crate::support::servers::site::Site;
use crate::support::servers::token_service::{Options, TokenRegistry};
use crate::support::{AUTHENTICATE, Variable, login, path, wasm_of_size, write};

const ADA: [Variable; 3] = login("ada", "lovelace");

/// Returns `user:password` in base64.
fn encoded(username: &str, password: &str) -> String {
    STANDARD.encode_to_string(format!("{username}:{password}"))
}

/// Returns the `Authorization` of a user whose password is `password`.
fn basic(username: &str) -> String {
    format!("Basic {}", encoded(username, "password"))
}

/// Returns the entry of the same user in a docker configuration file.
fn entry(username: &str) -> Value {
    json!({ "auth": encoded(username, "password") })
}

/// Returns the text of a docker configuration file.
fn auths(entries: &Value) -> String {
    json!({ "auths": entries }).to_string()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Each row: the configuration file of a registry HOST, the reference, and the credentials that the registry gets.
#[tokio::test]
async fn a_docker_configuration_file_is_read_as_docker_and_podman_do() {
    let module = wasm_of_size(1000);
    let namespaces = json!({
        "HOST": entry("all"),
        "HOST/acme": entry("acme"),
        "HOST/acme/add": entry("add"),
        "https://other.example/v1/": entry("other"),
    });
    let token = json!({ "HOST": { "registrytoken": "a-token" } });
    for (guard, entries, repository, expected) in [
        (Guard::Basic, json!({ "HOST": entry("ada") }), "add", basic("ada")),
        (Guard::Basic, json!({ "HOST": { "username": "ada", "password": "password" } }), "add", basic("ada")),
        (Guard::Basic, json!({ "https://HOST/v1/": entry("ada") }), "add", basic("ada")),
        (
            Guard::Basic,
            json!({ "HOST": { "auth": encoded("ada", "pass:word") } }),
            "add",
            format!("Basic {}", encoded("ada", "pass:word")),
        ),
        (Guard::Basic, namespaces.clone(), "add", basic("all")),
        (Guard::Basic, namespaces.clone(), "acme/subtract", basic("acme")),
        (Guard::Basic, namespaces.clone(), "acme/add", basic("add")),
        (Guard::Basic, namespaces.clone(), "acme/addition", basic("acme")),
        (Guard::Basic, namespaces, "acmes/add", basic("all")),
        (Guard::Bearer, token, "add", "Bearer a-token".into()),
    ] {
        let registry = FaultyRegistry::guarded(module.clone(), [], guard).await;
        let folder = folder();
        let text = auths(&entries).replace("HOST", registry.host());
        let file = write(folder.path(), "config.json", &text);
        let site = Site::start(registry.host(), &[AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", &file)]).await;
        site.delivers(repository, &module).await;
        let shown = registry.credentials();
        assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == expected), "{repository} of {text}: {shown:?}");
    }
}

/// Of several files, the one counts that is named most expressly; of a file and the variables, these.
#[tokio::test]
async fn the_nearest_source_of_credentials_wins() {
    let module = wasm_of_size(1000);
    let folder = folder();
    let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
    let file = |name: &str, user: &str| write(folder.path(), name, &auths(&json!({ (registry.host()): entry(user) })));
    file("home/.docker/config.json", "home");
    file("docker/config.json", "docker");
    let named = file("auth.json", "named");
    let path = |name: &str| path(&folder.path().join(name)).to_owned();
    let (home, docker) = (path("home"), path("docker"));
    let sources = [
        ("HOME", &*home),
        ("DOCKER_CONFIG", &*docker),
        ("PROXY_REGISTRY_AUTH_FILE", &*named),
        ("PROXY_REGISTRY_USERNAME", "variable"),
        ("PROXY_REGISTRY_PASSWORD", "password"),
    ];
    for (given, user) in [(1, "home"), (2, "docker"), (3, "named"), (5, "variable")] {
        let before = registry.credentials().len();
        let site = Site::start(registry.host(), &[&[AUTHENTICATE], &sources[..given]].concat()).await;
        site.delivers("add", &module).await;
        let shown = registry.credentials().split_off(before);
        assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == basic(user)), "{user}: {shown:?}");
    }
}

/// Each registry is shown its own, and the variables are for the configured one only.
#[tokio::test]
async fn each_registry_gets_its_own_credentials() {
    let module = wasm_of_size(1000);
    let variables = [("PROXY_REGISTRY_USERNAME", "ada"), ("PROXY_REGISTRY_PASSWORD", "password")];
    for (explicit, expected) in [(&[][..], "grace"), (&variables[..], "ada")] {
        let ours = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
        let other = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
        let unknown = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
        let folder = folder();
        let entries = json!({ (ours.host()): entry("grace"), (other.host()): entry("eve") });
        let file = write(folder.path(), "config.json", &auths(&entries));
        let allowed = format!("{},{}", other.host(), unknown.host());
        let own = [AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", &file), ("PROXY_REGISTRY_ALLOW", &allowed)];
        let site = Site::start(ours.host(), &[&own, explicit].concat()).await;
        site.delivers("add", &module).await;
        site.delivers(&format!("{}/add", other.host()), &module).await;
        site.rejects(&format!("{}/add", unknown.host()), "unauthorized").await;
        assert!(ours.credentials().iter().all(|shown| *shown == basic(expected)), "{:?}", ours.credentials());
        assert!(other.credentials().iter().all(|shown| *shown == basic("eve")), "{:?}", other.credentials());
        assert!(unknown.credentials().is_empty(), "{:?}", unknown.credentials());
    }
}

/// Who rotates credentials need not restart the daemon.
#[tokio::test]
async fn a_changed_docker_configuration_file_is_read_again() {
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
    let folder = folder();
    let rotate = |user: &str| write(folder.path(), "config.json", &auths(&json!({ (registry.host()): entry(user) })));
    let file = rotate("ada");
    let site = Site::start(registry.host(), &[AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", &file)]).await;
    for user in ["ada", "grace", "a-longer-name"] {
        rotate(user);
        let before = registry.credentials().len();
        site.delivers("add", &module).await;
        let shown = registry.credentials().split_off(before);
        assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == basic(user)), "{user}: {shown:?}");
    }
}

/// Each row: where credentials are looked for in vain.
#[tokio::test]
async fn an_unusable_docker_configuration_file_prevents_the_start() {
    const FILE: &str = "PROXY_REGISTRY_AUTH_FILE";
    let folder = folder();
    let garbage = &*write(folder.path(), "config.json", "{\"auths\": ");
    let text = &*write(folder.path(), "text.json", "\"text\"");
    let directory = path(folder.path());
    for variables in [
        &[(FILE, "/absent.json")][..],
        &[(FILE, garbage)],
        &[(FILE, text)],
        &[(FILE, directory)],
        &[("DOCKER_CONFIG", directory)],
        &[("DOCKER_CONFIG", "/absent"), ("HOME", "/absent")],
        &[],
    ] {
        let log = Daemon::misconfigured(&[&[AUTHENTICATE], variables].concat()).await;
        assert!(log.contains(FILE) || log.contains(AUTHENTICATE.0), "{variables:?}: {log}");
    }
}

/// Starts a site whose configuration file is at `file`, with the helper on its path.
async fn helped_site(helper: &Helper, registry: &str, file: &str) -> Site {
    Site::start(registry, &[AUTHENTICATE, ("PROXY_REGISTRY_AUTH_FILE", file), ("PATH", &helper.path)]).await
}

/// Each row: a configuration file that names the helper for the registry HOST.
#[tokio::test]
async fn answers_of_a_credential_helper_are_cached() {
    let module = wasm_of_size(1000);
    for config in [
        json!({ "credsStore": "tests" }),
        json!({ "credHelpers": { "HOST": "tests" } }),
        json!({ "credsStore": "absent", "credHelpers": { "HOST": "tests", "other.example": "absent" } }),
        json!({ "credsStore": "tests", "auths": { "HOST": {} } }),
    ] {
        let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
        let text = config.to_string().replace("HOST", registry.host());
        let helper = Helper::answering("ada", "password");
        let site = helped_site(&helper, registry.host(), &helper.config(&text)).await;
        for app_name in ["add", "add", "subtract"] {
            site.delivers(app_name, &module).await;
        }
        assert!(registry.credentials().iter().all(|shown| *shown == basic("ada")), "{text}");
        assert_eq!(helper.requests(), format!("get {}\n", registry.host()), "{text}");
    }
}

#[tokio::test]
async fn a_helper_without_credentials_means_anonymous_requests() {
    let registry = TokenRegistry::public("ada", "lovelace").await;
    let module = wasm_of_size(1000);
    registry.push("add", "latest", module.clone()).await;
    let helper = Helper::new("echo 'credentials not found in native keychain'; exit 1");
    let site = helped_site(&helper, registry.host(), &helper.config_for_all()).await;
    site.delivers("add", &module).await;
    assert_eq!(helper.requests(), format!("get {}\n", registry.host()));
    assert!(registry.requests().iter().all(|request| request.authorization.is_none()), "{:?}", registry.requests());
}

/// Each row: what goes wrong with the helper. None of it lasts, and none of its output is shown.
#[tokio::test]
async fn a_failing_helper_is_reported_without_its_output() {
    const LIMIT: Duration = Duration::from_secs(10);
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::guarded(module, [], Guard::Basic).await;
    let rows = [
        "echo canary-output",
        "echo canary-output >&2; echo '{\"Username\": \"canary-output\"}'",
        "echo canary-output; echo canary-output >&2; exit 1",
        "while echo canary-output; do :; done",
        "echo canary-output; exec sleep 600",
    ];
    join_all(rows.map(async |lines| {
        let helper = Helper::new(lines);
        let site = helped_site(&helper, registry.host(), &helper.config_for_all()).await;
        let begun = Instant::now();
        assert!(site.request("add").await.is_err(), "{lines}: {}", site.log());
        assert!(begun.elapsed() < LIMIT * 2, "{lines}: given up after {:?}", begun.elapsed());
        assert!(site.log().contains("docker-credential-tests"), "{lines}: {}", site.log());
        assert!(!site.log().contains("canary"), "{lines}: {}", site.log());
        timeout(LIMIT, ended(&helper.id())).await.expect("the helper does not run on");
    }))
    .await;
    assert!(registry.credentials().is_empty(), "{:?}", registry.credentials());
}

/// Waits until no process has this id, or it is dead, by polling: only its parent gets a signal.
async fn ended(id: &str) {
    while !id.is_empty() && fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty()) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn without_authentication_no_credentials_are_read() {
    let module = wasm_of_size(1000);
    for guard in [Guard::Basic, Guard::Bearer] {
        let registry = FaultyRegistry::guarded(module.clone(), [], guard).await;
        let helper = Helper::answering("ada", "password");
        let folder = folder();
        let file = helper.config_for_all();
        let garbage = write(folder.path(), ".docker/config.json", "{");
        for (switch, file) in [("false", &file), ("", &file), ("false", &garbage)] {
            let variables = [
                ("PROXY_AUTHENTICATE", switch),
                ("PROXY_REGISTRY_AUTH_FILE", file),
                ("HOME", path(folder.path())),
                ("PATH", &helper.path),
                ("PROXY_REGISTRY_USERNAME", "ada"),
                ("PROXY_REGISTRY_PASSWORD", "password"),
                ("PROXY_REGISTRY_IDENTITY_TOKEN", "identity"),
            ];
            let site = Site::start(registry.host(), &variables).await;
            match guard {
                Guard::Bearer => site.delivers("add", &module).await,
                Guard::Basic | Guard::Open => site.rejects("add", "unauthorized").await,
            }
        }
        // The token that its service gives to everyone is no credential of ours.
        assert!(registry.credentials().iter().all(|shown| shown == "Bearer good"), "{:?}", registry.credentials());
        assert_eq!(helper.requests(), "");
    }
}

#[tokio::test]
async fn a_token_is_used_until_it_expires() {
    let module = wasm_of_size(1000);
    for lifetime in [Duration::from_secs(300), Duration::from_secs(1)] {
        let options = Options { username: "ada", password: "lovelace", anonymous_pull: false, lifetime };
        let registry = TokenRegistry::with(options).await;
        for tag in ["1.0", "1.1"] {
            registry.push("acme/add", tag, module.clone()).await;
        }
        let site = Site::start(registry.host(), &ADA).await;
        site.delivers("acme/add:1.0", &module).await;
        let before = registry.token_requests();
        let lasting = lifetime.as_secs() > 1;
        if !lasting {
            sleep(lifetime).await;
        }
        site.delivers("acme/add:1.0", &module).await;
        site.delivers("acme/add:1.1", &module).await;
        let after = registry.token_requests();
        assert!(if lasting { (before, after) == (1, 1) } else { after > before }, "{lifetime:?}: {before}, {after}");
    }
}

#[tokio::test]
async fn tokens_are_scoped_to_pulling_from_one_repository() {
    let registry = TokenRegistry::start("ada", "lovelace").await;
    let module = wasm_of_size(1000);
    let site = Site::start(registry.host(), &ADA).await;
    let repositories = ["acme/add", "acme/subtract", "add"];
    for repository in repositories {
        registry.push(repository, "latest", module.clone()).await;
        site.delivers(repository, &module).await;
    }
    let asked = registry.requests();
    let scopes: Vec<_> = asked.iter().map(|request| request.scopes().join(" ")).collect();
    assert_eq!(scopes, repositories.map(|repository| format!("repository:{repository}:pull")));
    assert!(asked.iter().all(|request| request.parameter("service") == "registry of the tests"), "{asked:?}");
}

/// Each row: where the identity token comes from.
#[tokio::test]
async fn an_identity_token_is_exchanged_for_access_tokens() {
    let registry = TokenRegistry::start("ada", "lovelace").await;
    let token = "an-identity/token+=";
    registry.admit_identity(token);
    let module = wasm_of_size(1000);
    registry.push("acme/add", "latest", module.clone()).await;
    let folder = folder();
    let file = write(folder.path(), "auth.json", &auths(&json!({ (registry.host()): { "identitytoken": token } })));
    let helper = Helper::answering("<token>", token);
    let by_helper = helper.config_for_all();
    for source in [
        &[("PROXY_REGISTRY_IDENTITY_TOKEN", token)][..],
        &[("PROXY_REGISTRY_AUTH_FILE", &*file)],
        &[("PROXY_REGISTRY_AUTH_FILE", &*by_helper), ("PATH", &*helper.path)],
    ] {
        let before = registry.token_requests();
        let site = Site::start(registry.host(), &[&[AUTHENTICATE], source].concat()).await;
        site.delivers("acme/add", &module).await;
        let asked = registry.requests().split_off(before);
        let [request] = &asked[..] else { panic!("{source:?}: {asked:?}") };
        assert_eq!((request.method.as_str(), &request.authorization), ("POST", &None), "{source:?}");
        for (parameter, value) in [
            ("grant_type", "refresh_token"),
            ("client_id", "propeller-proxy"),
            ("service", "registry of the tests"),
            ("scope", "repository:acme/add:pull"),
        ] {
            assert_eq!(request.parameter(parameter), value, "{source:?}: {request:?}");
        }
    }
    let wrong = [AUTHENTICATE, ("PROXY_REGISTRY_IDENTITY_TOKEN", "wrong")];
    Site::start(registry.host(), &wrong).await.rejects("acme/add", "unauthorized").await;
}

#[tokio::test]
async fn a_token_rejected_before_it_expires_is_replaced_once() {
    let registry = TokenRegistry::start("ada", "lovelace").await;
    let module = wasm_of_size(1000);
    for tag in ["1.0", "1.1", "1.2"] {
        registry.push("add", tag, module.clone()).await;
    }
    let site = Site::start(registry.host(), &ADA).await;
    site.delivers("add:1.0", &module).await;
    registry.revoke();
    site.delivers("add:1.1", &module).await;
    assert_eq!(registry.token_requests(), 2);

    registry.revoke_for_good();
    site.rejects("add:1.2", "unauthorized").await;
    assert_eq!(registry.token_requests(), 3, "a token that is refused was replaced more than once");
}
