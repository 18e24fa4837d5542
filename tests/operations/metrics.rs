//! The metrics, as documented and as Prometheus scrapes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use propeller_proxy::util::metrics::{Kind, METRICS};
use serde_json::Value;

use crate::support::clients::endpoint::{fails, get};
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::prometheus::{Prometheus, promtool};
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// Longest wait for a daemon to be ready.
const DEADLINE: Duration = Duration::from_secs(20);
/// The documentation of the metrics.
const DOCUMENT: &str = include_str!("../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboard.json");

/// Returns the rows of a table of the documentation, by the name in the first column; without its prefix.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `propeller_proxy_"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels = cells[4].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (cells[1].clone(), (cells[2].clone(), labels))
    };
    rows.map(row).collect()
}

/// Returns the metrics of a scrape with their types and labels.
fn scraped(scrape: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = String::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            name.clone_into(&mut current);
            metrics.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, rest)) = line.split_once('{')
            && !line.starts_with('#')
        {
            let (labels, _) = rest.split_once('}').expect("labels");
            let labels =
                labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
            metrics.get_mut(&current).expect("its type").1.extend(labels.filter(|label| label != "le"));
        }
    }
    metrics
}

#[tokio::test]
async fn exported_metrics_are_the_documented_ones() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_300_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::start(registry.host(), &[]).await;
    let http = site.daemon().http().await;
    site.delivers("add", &module).await;
    site.delivers("add", &module).await;
    site.rejects("nothing", "unknown-image").await;
    fails(&http, &[], DEADLINE).await;

    let (_, scrape) = get(&format!("{http}/metrics")).await;
    assert_eq!(scraped(&scrape), documented());
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
    let table =
        METRICS.iter().map(|metric| (metric.name.to_owned(), (kind(metric.kind).to_owned(), labels(metric.labels))));
    assert_eq!(table.collect::<BTreeMap<_, _>>(), documented());
    promtool(Path::new("."), &["check", "metrics"], &scrape).await;

    let value = |series: &str| {
        let line = scrape.lines().find_map(|line| line.strip_prefix(&format!("propeller_proxy_{series} ")));
        line.unwrap_or_else(|| panic!("there is no {series}:\n{scrape}")).parse::<f64>().expect("a number")
    };
    let host = registry.host();
    for (series, expected) in [
        ("requests_total{outcome=\"sent\"}", 2.0),
        ("requests_total{outcome=\"unknown-image\"}", 1.0),
        ("published_chunks_total", 6.0),
        ("acknowledged_chunks_total", 6.0),
        ("passes_total", 2.0),
        ("first_chunk_seconds_count", 2.0),
        ("last_chunk_seconds_count", 2.0),
        ("acknowledgement_seconds_count", 6.0),
        ("broker_connected", 1.0),
        ("broker_connections_total", 1.0),
        ("registry_up", 1.0),
        ("in_flight_bytes", 0.0),
        (&format!("fetches_total{{registry=\"{host}\",outcome=\"unknown-image\"}}"), 1.0),
    ] {
        assert!((value(series) - expected).abs() < f64::EPSILON, "{series} is {}", value(series));
    }
    assert!(value(&format!("fetched_bytes_total{{registry=\"{host}\"}}")) >= 1_300_000.0);
    assert!(value("store_lookups_total{result=\"hit\"}") >= 1.0);
    assert!(value("published_bytes_total") > 2.0 * 1_300_000.0);
}

/// Requests may name whatever they like: it becomes no label.
#[tokio::test]
async fn unlisted_registries_share_one_label() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[("PROXY_REGISTRY_ALLOW", "*")]).await;
    let http = site.daemon().http().await;
    site.rejects("127.0.0.1:1/canary", "denied").await;
    let (_, scrape) = get(&format!("{http}/metrics")).await;
    assert!(scrape.contains("propeller_proxy_fetches_total{registry=\"other\",outcome=\"denied\"} 1\n"), "{scrape}");
    assert!(!scrape.contains("127.0.0.1:1") && !scrape.contains("canary"), "{scrape}");
}

/// What has no answer in time is counted, though nobody waits for it any more.
#[tokio::test]
async fn timed_out_fetches_are_counted() {
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(1000)).await;
    let way = Relay::start(registry.host()).await;
    way.stall(true);
    let site = Site::start(&way.host(), &[("PROXY_FETCH_TIMEOUT", "1s")]).await;
    site.rejects("add", "registry-unreachable").await;
    let (_, scrape) = get(&format!("{}/metrics", site.daemon().http().await)).await;
    let series = format!("fetches_total{{registry=\"{}\",outcome=\"registry-unreachable\"}} 1\n", way.host());
    assert!(scrape.contains(&series), "{scrape}");
}

/// Every expression of the dashboard, as Grafana would send it.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().expect("an expression"));
    let filled = |query: &str| {
        [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "30s")]
            .iter()
            .fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    };
    queries.map(filled).collect()
}

#[tokio::test]
async fn prometheus_has_data_for_every_panel_of_the_dashboard() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_300_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::start(registry.host(), &[]).await;
    let http = site.daemon().http().await;
    fails(&http, &[], DEADLINE).await;
    site.delivers("add", &module).await;
    let prometheus = Prometheus::scraping(&http).await;
    prometheus.has("up == 1").await;
    site.delivers("add", &module).await;
    site.rejects("nothing", "unknown-image").await;

    let queries = dashboard();
    assert!(queries.len() > 20, "{queries:?}");
    for metric in METRICS {
        assert!(queries.iter().any(|query| query.contains(metric.name)), "no panel has {}", metric.name);
    }
    for query in &queries {
        prometheus.has(query).await;
    }
    let quantile = "histogram_quantile(0.95, sum by (le) (rate(propeller_proxy_last_chunk_seconds_bucket[30s]))) > 0";
    prometheus.has(quantile).await;
    let documented = DOCUMENT.lines().filter_map(|line| line.strip_prefix("  `")?.strip_suffix('`'));
    let documented: Vec<_> = documented.filter(|query| query.contains("rate(")).collect();
    assert_eq!(documented.len(), 3, "{documented:?}");
    for query in documented {
        prometheus.has(query).await;
    }

    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
    promtool(&deploy, &["check", "config", "prometheus.yml"], "").await;
    let alerts = fs::read_to_string(deploy.join("alerts.yml")).expect("the alerts");
    let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    for word in alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let name = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(!word.starts_with("propeller_proxy_") || names.contains(&name), "an alert has {word}");
    }
}
