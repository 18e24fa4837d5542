//! The registry requests of each pull policy: for cached modules, for moved tags, and without a reachable registry.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// Each row: the reference of a cached module, the settings, and the requests that the registry gets then.
#[tokio::test]
async fn a_cached_module_is_not_fetched_again() {
    let module = wasm_of_size(1_000_000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let by_digest = format!("add@{}", registry.manifest_digest());
    let head = |version: &str| vec![format!("HEAD /v2/add/manifests/{version}")];
    for (app_name, settings, asked) in [
        ("add:1.0", &[][..], head("1.0")),
        ("add", &[("PROXY_TAG_TTL", "0s")], head("latest")),
        ("add:1.0", &[("PROXY_TAG_TTL", "10m")], vec![]),
        ("add:1.0", &[("PROXY_PULL_POLICY", "always"), ("PROXY_TAG_TTL", "10m")], head("1.0")),
        (&by_digest, &[], vec![]),
    ] {
        let site = Site::start(registry.host(), settings).await;
        site.delivers(app_name, &module).await;
        let before = registry.seen().len();
        site.delivers(app_name, &module).await;
        assert_eq!(registry.requests_since(before), asked, "{app_name} with {settings:?}\n{}", site.log());
    }
}

#[tokio::test]
async fn policy_always_confirms_a_digest_without_fetching_it() {
    let module = wasm_of_size(1000);
    let registry = FaultyRegistry::start(module.clone(), []).await;
    let site = Site::start(registry.host(), &[("PROXY_PULL_POLICY", "always")]).await;
    let by_digest = format!("add@{}", registry.manifest_digest());
    site.delivers(&by_digest, &module).await;
    let before = registry.seen().len();
    site.delivers(&by_digest, &module).await;
    assert!(registry.seen().len() > before, "the registry was not asked");
    assert_eq!(registry.fetches(), 1);
}

/// Each row: whether the module is in the store when its digest begins to lead to another one.
#[tokio::test]
async fn policy_always_rejects_another_manifest_for_a_digest() {
    let module = wasm_of_size(1000);
    for known in [true, false] {
        let registry = FaultyRegistry::start(module.clone(), []).await;
        let site = Site::start(registry.host(), &[("PROXY_PULL_POLICY", "always")]).await;
        let by_digest = format!("add@{}", registry.manifest_digest());
        if known {
            site.delivers(&by_digest, &module).await;
        }
        registry.set([Fault::ManifestReplaced]);
        site.rejects(&by_digest, "digest-mismatch").await;
    }
}

/// Each row: how long tags are believed, and whether a tag that moved brings the new module at once.
#[tokio::test]
async fn a_moved_tag_delivers_the_new_module_at_its_next_lookup() {
    let registry = DockerRegistry::start().await;
    let (old, new) = (wasm_of_size(1_000_000), wasm_of_size(1_000_001));
    for (repository, ttl, moves) in [("asked", "0s", true), ("believed", "10m", false)] {
        let site = Site::start(registry.host(), &[("PROXY_TAG_TTL", ttl)]).await;
        registry.pusher().wasm(repository, "1.0", old.clone()).await;
        let app_name = format!("{repository}:1.0");
        site.delivers(&app_name, &old).await;
        registry.pusher().wasm(repository, "1.0", new.clone()).await;
        site.delivers(&app_name, if moves { &new } else { &old }).await;
    }
}

#[tokio::test]
async fn each_policy_handles_an_unreachable_registry() {
    let registry = DockerRegistry::start().await;
    let relay = Relay::start(registry.host()).await;
    let module = wasm_of_size(1_000_000);
    let pushed = registry.pusher().wasm("add", "1.0", module.clone()).await;
    registry.pusher().wasm("subtract", "1.0", module.clone()).await;
    let by_digest = format!("add@{}", pushed.manifest);

    let mut site = Site::start(&relay.host(), &[]).await;
    site.delivers("add:1.0", &module).await;
    relay.refuse(true);
    relay.cut().await;
    site.delivers(&by_digest, &module).await;

    site.stop().await;
    site.restart(&[("PROXY_PULL_POLICY", "if-not-present")]).await;
    site.delivers(&by_digest, &module).await;
    assert!(site.events("tag-from-memory").is_empty(), "{}", site.log());
    site.delivers("add:1.0", &module).await;
    site.daemon().event("tag-from-memory").await;
    site.rejects("subtract:1.0", "registry-unreachable").await;

    site.stop().await;
    site.restart(&[("PROXY_PULL_POLICY", "always")]).await;
    site.rejects("add:1.0", "registry-unreachable").await;
    site.rejects(&by_digest, "registry-unreachable").await;

    site.stop().await;
    site.restart(&[("PROXY_PULL_POLICY", "never")]).await;
    relay.refuse(false);
    let before = relay.connections();
    site.delivers("add:1.0", &module).await;
    site.delivers(&by_digest, &module).await;
    site.rejects("subtract:1.0", "not-cached").await;
    site.rejects(&format!("add@sha256:{}", "0".repeat(64)), "not-cached").await;
    assert_eq!(relay.connections(), before, "the registry was asked");
}

/// Each row: what the registry answers, and what becomes of the request.
#[tokio::test]
async fn a_rejection_by_the_registry_is_cached_for_a_short_time() {
    const MEMORY: Duration = Duration::from_secs(10);
    let module = wasm_of_size(1000);
    join_all([(404, "unknown-image"), (403, "unauthorized")].map(async |(status, code)| {
        let registry = FaultyRegistry::start(module.clone(), [Fault::Status(status)]).await;
        let site = Site::start(registry.host(), &[]).await;
        site.rejects("add", code).await;
        let (refused, before) = (Instant::now(), registry.seen().len());
        registry.set([]);
        site.rejects("add", code).await;
        assert_eq!(registry.seen().len(), before, "it was asked again after {status}");
        site.delivers("add:other", &module).await;

        let forgotten = async {
            while site.request("add").await.is_err() {
                sleep(MEMORY / 20).await;
            }
        };
        timeout(MEMORY * 2, forgotten).await.expect("the refusal is forgotten");
        assert!(refused.elapsed() > MEMORY / 2, "{status} was forgotten after {:?}", refused.elapsed());
    }))
    .await;
}
