//! Registries whose answers have no end: they cost neither memory nor time beyond a bound, and the request fails.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::clients::client::{Client, STATUSES};
use crate::support::faults::flood::{Flood, FloodingRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Tls;

/// Requests at once, each for another module.
const REQUESTS: usize = 16;
/// What a daemon's memory may grow by: 2 MiB for each of them, bytes.
const MAX_GROWTH: u64 = 32 << 20;

#[tokio::test]
async fn an_answer_without_end_costs_no_memory_and_fails() {
    let (tls, folder) = (Tls::self_signed(), tempfile::tempdir().expect("a folder for the certificate"));
    let certificate = tls.write(folder.path()).0.display().to_string();
    for flood in Flood::ALL {
        let registry = FloodingRegistry::start(flood, &tls).await;
        let site = Site::start(
            registry.url(),
            &[("SSL_CERT_FILE", &certificate), ("PROXY_FETCH_TIMEOUT", "3s"), ("PROXY_MAX_FETCHES", "16")],
        )
        .await;
        let client = Client::listening(site.mosquitto(), &STATUSES).await;
        let before = site.daemon().peak_memory();
        let apps: Vec<_> = (0..REQUESTS).map(|app| format!("app/{app}")).collect();
        client.request("channel", apps.iter().map(String::as_str)).await;
        for outcome in join_all(apps.iter().map(|app| client.outcome(app))).await {
            assert_eq!(outcome["error"]["code"], json!("registry-unreachable"), "{flood:?}: {outcome}");
        }
        let growth = site.daemon().peak_memory() - before;
        assert!(growth < MAX_GROWTH, "{flood:?}: {growth} bytes");
    }
}
