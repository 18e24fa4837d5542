//! Egress: which hosts the daemon dials, and with which credentials.

use crate::support::faults::faulty_registry::{Fault, FaultyRegistry, Guard};
use crate::support::faults::relay::Relay;
use crate::support::faults::trap::Trap;
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Tls;
use crate::support::{Variable, free_port, login, wasm_of_size};

const LOGIN: [Variable; 3] = login("ada", "canary");

/// Permissions that permit nothing inside: none, any public registry, and other ports of this machine.
const NOTHING_INSIDE: [&str; 3] = ["", "*", "*,localhost:1,127.0.0.1:1,[::1]:1"];

/// Addresses in networks that only the operator's machines reach.
pub(super) const INSIDE: [&str; 9] = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "[fd00::1]",
    "[fe80::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:a9fe:a9fe]",
];

pub(super) fn assert_nothing_in(trap: &Trap, site: &Site) {
    assert_eq!(trap.caught(), Vec::<String>::new(), "{}", site.log());
}

/// Requests a module, and gets the error `denied`, which names the setting that could permit it.
async fn assert_denied(site: &Site, app_name: &str, setting: &str) {
    let failure = site.request(app_name).await.expect_err("a refusal");
    let hint = failure["hint"].as_str().unwrap_or_default();
    assert!(failure["code"] == "denied" && hint.contains(setting), "{app_name}: {failure}");
}

#[tokio::test]
async fn redirects_and_realms_to_internal_addresses_are_not_dialled() {
    type Lure = fn(String) -> Fault;
    let trap = Trap::set();
    let inside = INSIDE.iter().flat_map(|host| [format!("http://{host}/"), format!("https://{host}/")]);
    let urls: Vec<_> = trap.urls().into_iter().chain(inside).collect();
    let ways: [(Lure, Guard, &str); 3] = [
        (Fault::RedirectTo, Guard::Basic, "PROXY_REGISTRY_ALLOW"),
        (Fault::ManifestRedirectTo, Guard::Basic, "PROXY_REGISTRY_ALLOW"),
        (Fault::ForeignRealm, Guard::Bearer, "PROXY_REGISTRY_TOKEN_SERVICES"),
    ];
    for (lure, guard, setting) in ways {
        for allow in NOTHING_INSIDE {
            let registry = FaultyRegistry::guarded(wasm_of_size(1000), [], guard).await;
            let variables = [&LOGIN[..], &[("PROXY_REGISTRY_ALLOW", allow)]].concat();
            let site = Site::start(registry.host(), &variables).await;
            for (number, url) in urls.iter().enumerate() {
                registry.set([lure(url.clone())]);
                assert_denied(&site, &format!("lure/{number}"), setting).await;
            }
            assert!(registry.seen().len() >= urls.len(), "the registry was not asked\n{}", site.log());
            assert_nothing_in(&trap, &site);
            assert!(!site.log().contains("canary"), "{}", site.log());
        }
    }
}

#[tokio::test]
async fn descriptor_urls_are_not_dialled() {
    let trap = Trap::set();
    let registry = FaultyRegistry::start(wasm_of_size(1000), [Fault::ForeignUrls(trap.urls())]).await;
    let site = Site::start(registry.host(), &[]).await;
    site.delivers("add", registry.module()).await;
    assert_nothing_in(&trap, &site);
}

#[tokio::test]
async fn requests_for_internal_addresses_are_not_dialled() {
    let (trap, registry) = (Trap::set(), FaultyRegistry::start(wasm_of_size(1000), []).await);
    for allow in NOTHING_INSIDE {
        let site = Site::start(registry.host(), &[("PROXY_REGISTRY_ALLOW", allow)]).await;
        for host in trap.hosts().iter().map(String::as_str).chain(INSIDE) {
            assert_denied(&site, &format!("{host}/add"), "PROXY_REGISTRY_ALLOW").await;
        }
        for host in trap.spellings() {
            site.rejects(&format!("{host}/add"), "bad-reference").await;
        }
        assert_nothing_in(&trap, &site);
    }
}

/// Each row: the permissions, where R is the configured registry and S another one, and what may be requested.
#[tokio::test]
async fn registries_and_repositories_are_allowed_by_name() {
    let rows: [(&str, &[(&str, bool)]); 5] = [
        ("", &[("add", true), ("R/acme/add", true), ("S/add", false)]),
        ("S", &[("add", true), ("S/add", true), ("S/acme/add", true)]),
        ("http://S/acme/*", &[("add", true), ("S/acme/add", true), ("S/acme/new/add", true), ("S/add", false)]),
        ("S/tools/add", &[("S/tools/add", true), ("S/tools/add:1.0", true), ("S/tools/sub", false), ("S/add", false)]),
        (
            "R/acme/*,R/tools/add",
            &[
                ("acme/add", true),
                ("acme/new/add", true),
                ("R/tools/add:1.0", true),
                ("add", false),
                ("acme", false),
                ("acmes/add", false),
                ("tools/add/more", false),
                ("tools/sub", false),
                ("S/acme/add", false),
            ],
        ),
    ];
    let registry = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let other = FaultyRegistry::start(wasm_of_size(2000), []).await;
    let fill = |text: &str| text.replace('R', registry.host()).replace('S', other.host());
    for (allow, requests) in rows {
        let site = Site::start(registry.host(), &[("PROXY_REGISTRY_ALLOW", &fill(allow))]).await;
        for (app_name, permitted) in requests {
            let module = if app_name.starts_with('S') { other.module() } else { registry.module() };
            match permitted {
                true => site.delivers(&fill(app_name), module).await,
                false => assert_denied(&site, &fill(app_name), "PROXY_REGISTRY_ALLOW").await,
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_to_an_allowed_host_carries_no_credentials() {
    let module = wasm_of_size(1000);
    let ways: [fn(&FaultyRegistry) -> Fault; 2] = [
        |cdn| Fault::RedirectTo(cdn.blob_url()),
        |cdn| Fault::ManifestRedirectTo(format!("{}/v2/add/manifests/latest", cdn.url())),
    ];
    for fault in ways {
        for scheme in ["", "http://"] {
            let cdn = FaultyRegistry::start(module.clone(), []).await;
            let registry = FaultyRegistry::guarded(module.clone(), [fault(&cdn)], Guard::Basic).await;
            let allow = format!("{scheme}{}", cdn.host());
            let variables = [&LOGIN[..], &[("PROXY_REGISTRY_ALLOW", &allow)]].concat();
            Site::start(registry.host(), &variables).await.delivers("add", &module).await;
            assert_eq!((cdn.seen().len(), cdn.credentials().len()), (1, 0), "{:?}", cdn.seen());
        }
    }
}

/// A challenge from there is not the registry's.
#[tokio::test]
async fn an_allowed_host_that_challenges_gets_no_credentials() {
    let module = wasm_of_size(1000);
    for guard in [Guard::Basic, Guard::Bearer] {
        let cdn = FaultyRegistry::guarded(module.clone(), [], guard).await;
        let registry = FaultyRegistry::guarded(module.clone(), [Fault::RedirectTo(cdn.blob_url())], guard).await;
        let variables = [&LOGIN[..], &[("PROXY_REGISTRY_ALLOW", cdn.host())]].concat();
        Site::start(registry.host(), &variables).await.rejects("add", "unauthorized").await;
        assert_eq!((cdn.seen().len(), cdn.credentials().len()), (1, 0), "{:?}", cdn.seen());
    }
}

#[tokio::test]
async fn at_most_three_redirects_within_a_registry_are_followed() {
    let registry = FaultyRegistry::guarded(wasm_of_size(1000), [], Guard::Basic).await;
    let path = format!("/v2/elsewhere/blobs/{}", registry.digest());
    let whole = format!("{}{path}", registry.url());
    let [whole, path] = [whole, path].map(Fault::RedirectTo);
    registry.set([whole.clone(), path, whole.clone(), Fault::None]);
    Site::start(registry.host(), &LOGIN).await.delivers("add", registry.module()).await;

    registry.set([whole]);
    let before = registry.seen_for("/blobs/").len();
    let site = Site::start(registry.host(), &LOGIN).await;
    site.request("add").await.expect_err("a refusal");
    assert_eq!(registry.seen_for("/blobs/").len() - before, 4, "{}", site.log());
}

#[tokio::test]
async fn redirects_from_https_to_http_are_not_followed() {
    let (tls, folder, module) = (Tls::self_signed(), tempfile::tempdir().expect("a folder"), wasm_of_size(1000));
    let (certificate, _) = tls.write(folder.path());
    let certificate = certificate.display().to_string();
    let cdn = FaultyRegistry::start(module.clone(), []).await;
    let allow = format!("http://{}", cdn.host());
    let variables = [("SSL_CERT_FILE", &*certificate), ("PROXY_REGISTRY_ALLOW", &allow)];

    let registry = FaultyRegistry::with_tls(module.clone(), [], &tls).await;
    let site = Site::start(registry.url(), &variables).await;
    for (number, fault) in [Fault::RedirectTo, Fault::ManifestRedirectTo].into_iter().enumerate() {
        registry.set([fault(cdn.blob_url())]);
        site.rejects(&format!("lure/{number}"), "denied").await;
    }
    assert!(cdn.seen().is_empty(), "{:?}", cdn.seen());

    registry.set([]);
    site.delivers("add", &module).await;
}

#[tokio::test]
async fn a_token_service_on_another_host_must_be_listed() {
    let module = wasm_of_size(1000);
    let service = FaultyRegistry::start(module.clone(), []).await;
    let realm = Fault::ForeignRealm(format!("{}/token", service.url()));
    let registry = FaultyRegistry::guarded(module.clone(), [realm], Guard::Bearer).await;
    let services = format!("{}={}", registry.host(), service.host());
    for (name, value) in [
        ("PROXY_REGISTRY_TOKEN_SERVICES", ""),
        ("PROXY_REGISTRY_TOKEN_SERVICES", &format!("{0}={0}", service.host())),
        ("PROXY_REGISTRY_ALLOW", service.host()),
    ] {
        let site = Site::start(registry.host(), &[&LOGIN[..], &[(name, value)]].concat()).await;
        assert_denied(&site, "add", "PROXY_REGISTRY_TOKEN_SERVICES").await;
    }
    assert!(service.seen().is_empty(), "{:?}", service.seen());

    let variables = [&LOGIN[..], &[("PROXY_REGISTRY_TOKEN_SERVICES", &services)]].concat();
    Site::start(registry.host(), &variables).await.delivers("add", &module).await;
    assert_eq!(service.credentials(), ["Basic YWRhOmNhbmFyeQ=="]);
}

#[tokio::test]
async fn redirects_of_a_token_service_are_not_followed() {
    let module = wasm_of_size(1000);
    let other = FaultyRegistry::start(module.clone(), []).await;
    for own in [true, false] {
        let registry = FaultyRegistry::guarded(module.clone(), [], Guard::Bearer).await;
        let target = if own { registry.url() } else { other.url() };
        registry.set([Fault::TokenRedirectTo(format!("{target}/token"))]);
        let variables = [&LOGIN[..], &[("PROXY_REGISTRY_ALLOW", other.host())]].concat();
        Site::start(registry.host(), &variables).await.request("add").await.expect_err("a refusal");
        assert_eq!(registry.seen_for("/token").len(), 1, "{:?}", registry.seen());
    }
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}

/// Each row: what is wrong with the mirror's first answers; the origin gets requests only if that is something.
#[tokio::test]
async fn a_mirror_is_tried_first_and_the_origin_after_its_failure() {
    let module = wasm_of_size(20_000);
    for fault in [
        Fault::None,
        Fault::Status(404),
        Fault::Status(500),
        Fault::Status(429),
        Fault::HugeManifest,
        Fault::BlobStatus(404),
        Fault::BlobStatus(503),
        Fault::Tampered,
        Fault::Truncated,
        Fault::Short,
        Fault::Overlong,
        Fault::RedirectTo("http://127.0.0.1:1/".into()),
    ] {
        let mirror = FaultyRegistry::start(module.clone(), [fault.clone()]).await;
        let origin = FaultyRegistry::start(module.clone(), []).await;
        let mirrors = format!("{}={}", origin.host(), mirror.host());
        let site = Site::start(origin.host(), &[("PROXY_REGISTRY_MIRRORS", &mirrors)]).await;
        site.delivers("add", &module).await;
        assert_eq!(origin.seen().is_empty(), fault == Fault::None, "{fault:?}: {:?}", origin.seen());
        let asked = [mirror.seen_for("/manifests/").len(), mirror.seen_for("/blobs/").len()];
        assert!(asked[0] == 1 && asked[1] <= 1, "{fault:?} was tried again: {:?}", mirror.seen());
    }
}

/// The first one is not there, the second one does not have it, the third one has it below a prefix.
#[tokio::test]
async fn mirrors_are_tried_in_order() {
    let origin = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let without = FaultyRegistry::start(wasm_of_size(999), [Fault::Status(404)]).await;
    let below = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let mirrors =
        [format!("127.0.0.1:{}", free_port()), without.host().into(), format!("http://{}/cache/of", below.host())]
            .map(|mirror| format!("{}={mirror}", origin.host()));
    let site = Site::start(origin.host(), &[("PROXY_REGISTRY_MIRRORS", &mirrors.join(","))]).await;
    site.delivers("acme/add:1.0", below.module()).await;
    let paths: Vec<_> = below.seen().into_iter().map(|seen| seen.path).collect();
    let blob = format!("/v2/cache/of/acme/add/blobs/{}", below.digest());
    assert_eq!(paths, ["/v2/cache/of/acme/add/manifests/1.0", &blob]);
    assert_eq!((without.seen().len(), origin.seen().len()), (2, 0));
}

/// The credentials are for the origin.
#[tokio::test]
async fn mirrors_get_no_credentials() {
    let module = wasm_of_size(1000);
    for guard in [Guard::Open, Guard::Basic, Guard::Bearer] {
        let origin = FaultyRegistry::guarded(module.clone(), [], Guard::Basic).await;
        let mirror = FaultyRegistry::guarded(module.clone(), [], guard).await;
        let mirrors = format!("{}={}", origin.host(), mirror.host());
        let variables = [&LOGIN[..], &[("PROXY_REGISTRY_MIRRORS", &mirrors)]].concat();
        Site::start(origin.host(), &variables).await.delivers("add", &module).await;
        assert!(!mirror.seen().is_empty());
        let basic = mirror.credentials().into_iter().find(|given| given.starts_with("Basic"));
        assert_eq!(basic, None);
    }
}

/// Requests one after the other have one connection.
#[tokio::test]
async fn requests_reuse_a_connection() {
    const APPS: usize = 10;
    let (tls, folder) = (Tls::self_signed(), tempfile::tempdir().expect("a folder for the certificate"));
    let registry = DockerRegistry::with(Auth::None, Some(&tls)).await;
    let modules: Vec<_> = (0..APPS).map(|app| wasm_of_size(1000 + app)).collect();
    for (app, module) in modules.iter().enumerate() {
        registry.pusher().wasm(&format!("app/{app}"), "latest", module.clone()).await;
    }
    let relay = Relay::start(registry.host()).await;
    let certificate = tls.write(folder.path()).0.display().to_string();
    let url = format!("https://{}", relay.host());
    let site = Site::start(&url, &[("SSL_CERT_FILE", &certificate)]).await;
    for (app, module) in modules.iter().enumerate() {
        site.delivers(&format!("app/{app}"), module).await;
    }
    assert_eq!(relay.connections(), 1);
}
