//! HTTP proxies of the environment: which registries are reached through them.

use super::egress::{INSIDE, assert_nothing_in};
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::faults::trap::Trap;
use crate::support::faults::tunnel::Tunnel;
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Tls;
use crate::support::{free_port, wasm_of_size};

#[tokio::test]
async fn a_remote_registry_is_reached_through_the_http_proxy() {
    // Requests to an HTTP proxy have whole URLs; this one answers them itself.
    let proxy = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let through = format!("http://ada:canary@{}", proxy.host());
    let variables = [("HTTP_PROXY", &*through), ("PROXY_LOG_LEVEL", "trace")];
    let site = Site::start("http://registry.example/acme", &variables).await;
    site.delivers("add", proxy.module()).await;
    let asked = proxy.seen();
    assert!(asked.iter().all(|seen| seen.uri.host() == Some("registry.example")), "{asked:?}");
    assert!(
        asked.iter().all(|seen| seen.proxy_authorization.as_deref() == Some("Basic YWRhOmNhbmFyeQ==")),
        "{asked:?}"
    );

    for (number, host) in INSIDE.iter().enumerate() {
        proxy.set([Fault::ManifestRedirectTo(format!("http://{host}/"))]);
        site.rejects(&format!("lure/{number}"), "denied").await;
    }
    assert!(proxy.seen().iter().all(|seen| seen.uri.host() == Some("registry.example")), "{:?}", proxy.seen());
    assert!(!site.log().contains("canary"), "{}", site.log());
}

#[tokio::test]
async fn a_registry_with_tls_is_reached_through_a_connect_tunnel() {
    let names = ["127.0.0.1".to_owned(), "registry.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a self-signed certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls { issuer: certificate.clone(), certificate, key };
    let registry = DockerRegistry::with(Auth::None, Some(&tls)).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let tunnel = Tunnel::to(registry.host()).await;
    let folder = tempfile::tempdir().expect("a folder for the certificate");

    let (certificate, through) =
        (tls.write(folder.path()).0.display().to_string(), format!("http://ada:canary@{}", tunnel.host()));
    let variables = [("HTTPS_PROXY", &*through), ("SSL_CERT_FILE", &certificate), ("PROXY_LOG_LEVEL", "trace")];
    let site = Site::start("registry.example", &variables).await;
    site.delivers("add", &module).await;
    for head in tunnel.heads() {
        assert!(head.starts_with("connect registry.example:443 "), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic ywrhomnhbmfyeq==\r\n"), "{head}");
    }
    assert!(!site.log().contains("canary"), "{}", site.log());
}

#[tokio::test]
async fn an_http_proxy_for_other_hosts_or_schemes_is_not_used() {
    let proxy = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let through = format!("http://ada:canary@{}", proxy.host());
    let dead = format!("http://ada:canary@127.0.0.1:{}", free_port());
    for variables in [
        [("HTTP_PROXY", &*through), ("NO_PROXY", "registry.example")],
        [("HTTP_PROXY", &through), ("NO_PROXY", ".example")],
        [("HTTPS_PROXY", &through), ("NO_PROXY", "")],
        [("HTTP_PROXY", &dead), ("PROXY_LOG_LEVEL", "trace")],
    ] {
        let site = Site::start("http://registry.example", &variables).await;
        site.rejects("add", "registry-unreachable").await;
        assert!(!site.log().contains("canary"), "{}", site.log());
    }
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());
}

#[tokio::test]
async fn a_loopback_registry_bypasses_the_http_proxy() {
    let (trap, registry) = (Trap::set(), FaultyRegistry::start(wasm_of_size(1000), []).await);
    let proxy = &trap.urls()[0];
    let by_name = registry.host().replace("127.0.0.1", "localhost");
    for url in [registry.host(), registry.url(), &by_name] {
        let variables =
            ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"].map(|name| (name, &**proxy));
        let site = Site::start(url, &variables).await;
        site.delivers("add", registry.module()).await;
        assert_nothing_in(&trap, &site);
    }
}
