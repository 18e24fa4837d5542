//! The recorder of the core's metrics, which are scraped from it.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Upper bounds of the buckets for acknowledgements, seconds: a broker beside us takes a millisecond, a slow link a minute.
const ACKNOWLEDGEMENT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];
/// The same for whole deliveries: a device waits 55 s.
const DELIVERY_BUCKETS: [f64; 13] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 55.0, 120.0];
/// How often values that are not scraped are put into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// There is one recorder in a process, however often the service runs there.
static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder of the metrics, unless it is there. Handles that were made before record nothing.
///
/// # Errors
/// If another recorder is installed.
pub(crate) fn install() -> Result<PrometheusHandle, Box<dyn Error>> {
    if let Some(handle) = INSTALLED.get() {
        propeller_proxy::util::metrics::describe();
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("acknowledgement_seconds".into()), &ACKNOWLEDGEMENT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_chunk_seconds".into()), &DELIVERY_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    propeller_proxy::util::metrics::describe();
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

/// Keeps what is recorded small, until `stop`.
pub(crate) async fn keep_up(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut turns = tokio::time::interval(UPKEEP_INTERVAL);
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
