//! Registries that are slow or silent: they delay nothing that does not come from them.

use propeller_proxy::oci::wasm::MODULE_PREAMBLE;
use tokio::net::TcpListener;

use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// More than modules that may be open, and than requests to a registry at once.
const MANY: usize = 300;

#[tokio::test]
async fn requests_to_a_silent_registry_delay_no_other_module() {
    let registry = FaultyRegistry::start(wasm_of_size(1000), []).await;
    // It accepts connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = silent.local_addr().expect("the port").to_string();
    let site = Site::start(registry.host(), &[("PROXY_REGISTRY_ALLOW", &host)]).await;
    for number in 0..MANY {
        site.proplet().publish_request(&format!("{host}/app/{number}")).await;
    }
    let _held = silent.accept().await.expect("a connection");
    // Each fails at any failure, also that of the silent registry, whose requests are open all the while.
    site.delivers("add", registry.module()).await;
    site.delivers(&format!("stored@{}", registry.manifest_digest()), registry.module()).await;
    let requests = registry.seen().len();
    site.delivers(&format!("again@{}", registry.manifest_digest()), registry.module()).await;
    assert_eq!(registry.seen().len(), requests, "{:?}", registry.seen());
}

/// The registry answers, and only where it sends the downloads is nobody: it does not rest.
#[tokio::test]
async fn a_silent_host_behind_redirects_delays_no_other_module_of_the_registry() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = silent.local_addr().expect("the port").to_string();
    let gone = Fault::RedirectTo(format!("http://{host}/blob"));
    let registry = FaultyRegistry::start(wasm_of_size(1000), [gone.clone(), gone]).await;
    let variables = [("PROXY_REGISTRY_ALLOW", &*host), ("PROXY_FETCH_TIMEOUT", "7s")];
    let site = Site::start(registry.host(), &variables).await;
    site.rejects("add", "registry-unreachable").await;
    registry.set([]);
    site.delivers("other", registry.module()).await;
}

#[tokio::test]
async fn a_download_may_be_as_slow_as_its_link() {
    // One byte a second, for longer than a registry may be silent: the preamble, and a section without content.
    let module = [&MODULE_PREAMBLE[..], &[0, 4, 1, b'a', 0, 0]].concat();
    let registry = FaultyRegistry::start(module, [Fault::Slow]).await;
    let other = FaultyRegistry::start(wasm_of_size(1000), []).await;
    let site = Site::start(other.host(), &[("PROXY_REGISTRY_ALLOW", registry.host())]).await;
    site.delivers(&format!("{}/slow", registry.host()), registry.module()).await;
    assert_eq!(registry.fetches(), 1, "{:?}", registry.seen());
}

#[tokio::test]
async fn what_came_of_a_failed_download_is_kept_for_the_next_request() {
    let faults = [Fault::Truncated, Fault::BlobStatus(503)];
    let registry = FaultyRegistry::start(wasm_of_size(20_000), faults).await;
    let site = Site::start(registry.host(), &[]).await;
    site.rejects("add", "registry-answer").await;
    registry.set([Fault::None]);
    let failed = registry.fetches();
    site.delivers("add", registry.module()).await;
    let ranges: Vec<_> = registry.seen_for("/blobs/").split_off(failed).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some("bytes=10000-".to_owned())]);
}
