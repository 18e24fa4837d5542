//! Registries that are slow or silent: they delay nothing that does not come from them.

use tokio::net::TcpListener;

use crate::support::faults::faulty_registry::FaultyRegistry;
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
