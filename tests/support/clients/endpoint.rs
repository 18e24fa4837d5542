//! A client of the daemon's HTTP endpoint, as probes and Prometheus are.

use std::{collections::BTreeSet, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::clients::push::client;

const POLL: Duration = Duration::from_millis(20);

/// Returns the status of an answer, and all of it.
pub async fn get(url: &str) -> (StatusCode, String) {
    let response = client(None).get(url).send().await.expect("an answer");
    let status = response.status();
    (status, response.text().await.expect("all of it"))
}

/// Requests `/readyz`, and returns the names of the checks that failed.
pub async fn failing(http: &str) -> BTreeSet<String> {
    let (status, body) = get(&format!("{http}/readyz")).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let checks = body["checks"].as_object().expect("the checks");
    assert_eq!(checks.keys().collect::<Vec<_>>(), ["broker", "registry", "state", "store"]);
    assert!(checks.values().all(|check| check["detail"].is_string()), "{body}");
    let failing: BTreeSet<_> =
        checks.iter().filter(|(_, check)| check["ok"] == false).map(|(name, _)| name.clone()).collect();
    assert_eq!(body["ready"], failing.is_empty(), "{body}");
    assert_eq!(status, if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
    failing
}

/// Waits until exactly these checks fail.
pub async fn fails(http: &str, names: &[&str], limit: Duration) {
    let expected: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let begin = Instant::now();
    loop {
        let failing = failing(http).await;
        if failing == expected {
            return;
        }
        assert!(begin.elapsed() < limit, "after {limit:?}, {failing:?} fail where {expected:?} should");
        sleep(POLL).await;
    }
}
