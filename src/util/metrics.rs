//! What is counted and measured: every metric with its name, kind, labels and meaning in one table.
//!
//! Values go to the recorder that the program has installed for the facade `metrics`, and nowhere without one. Names
//! and units are as Prometheus wants them. No label has more values than the operator has registries, or the proxy
//! error codes.

use ::metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram, with_recorder};

use crate::error::Error;

/// What a registry is called that the operator did not name.
pub(crate) const OTHER_REGISTRY: &str = "other";

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it measures, one sentence.
    pub help: &'static str,
}

/// A kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often values of several sizes came.
    Histogram,
}

impl Metric {
    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels: &[], help }
    }

    /// What it is measured in, if it is not a mere number.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        let name = self.name.trim_end_matches("_total");
        match name.rsplit_once('_')?.1 {
            "seconds" => Some(Unit::Seconds),
            "bytes" => Some(Unit::Bytes),
            _ => None,
        }
    }
}

macro_rules! metrics {
    ($($id:ident: $kind:ident($name:literal, $($rest:expr),+);)*) => {
        $(const $id: Metric = Metric::$kind(concat!("propeller_proxy_", $name), $($rest),+);)*

        /// Every metric there is.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics! {
    REQUESTS: counter("requests_total", &["outcome"], "Requests that are done with, by outcome: sent, or the code of an error.");
    FETCHES: counter(
        "fetches_total", &["registry", "outcome"],
        "Manifests and blobs that were asked for, by registry and outcome: ok, or the code of an error."
    );
    FETCHED_BYTES: counter("fetched_bytes_total", &["registry"], "Bytes of manifests and blobs that came from a registry.");
    STORE_LOOKUPS: counter("store_lookups_total", &["result"], "Manifests and blobs that were looked for in the store: hit or miss.");
    PUBLISHED_CHUNKS: counter("published_chunks_total", &[], "Chunks that were handed to the connection to the broker.");
    PUBLISHED_BYTES: counter("published_bytes_total", &[], "Bytes of the messages of these chunks.");
    ACKNOWLEDGED_CHUNKS: counter("acknowledged_chunks_total", &[], "Chunks that the broker has acknowledged.");
    PASSES: counter("passes_total", &[], "Rounds through all chunks of a module that were begun.");
    JOINS: counter("joins_total", &[], "Requests that joined a running transfer.");
    REPEATS: counter("repeats_total", &[], "Modules that were sent again to devices that may have missed them.");
    ACKNOWLEDGEMENT: histogram("acknowledgement_seconds", "Time from handing a chunk to the connection to its acknowledgement.");
    FIRST_CHUNK: histogram("first_chunk_seconds", "Time from a request to the first chunk for it that the broker acknowledged.");
    LAST_CHUNK: histogram("last_chunk_seconds", "Time from a request to the last chunk for it that the broker acknowledged.");
    OPEN_REQUESTS: gauge("open_requests", &[], "Requests that are not done with.");
    OPEN_TRANSFERS: gauge("open_transfers", &[], "Modules that are being fetched or sent for somebody.");
    QUEUE_DEPTH: gauge(
        "queue_depth", &["queue"],
        "What waits: arrivals for the service, modules for a place among those that are open, changes of the state for the disk."
    );
    IN_FLIGHT_BYTES: gauge("in_flight_bytes", &[], "Bytes of chunks on their way to the broker.");
    BROKER_CONNECTED: gauge("broker_connected", &[], "Whether the proxy is connected and subscribed to its requests: 1 or 0.");
    BROKER_CONNECTIONS: counter("broker_connections_total", &[], "Times the proxy came to be connected and subscribed.");
    REGISTRY_UP: gauge("registry_up", &[], "Whether the configured registry answered when it was last asked: 1 or 0.");
    STORE_BYTES: gauge("store_bytes", &[], "Disk space that the store takes, as far as is known.");
    DROPPED_LOG_LINES: counter("dropped_log_lines_total", &[], "Lines of the log that were dropped because standard error was not read, or could not be written.");
    BUILD_INFO: gauge("build_info", &["version"], "The version of the proxy; always 1.");
    START_TIME: gauge("start_time_seconds", &[], "When the proxy started, in seconds since 1970-01-01 00:00 UTC.");
}

/// Describes the metrics to the recorder, and sets those that do not change. It is to be installed before. Outcomes of
/// requests are there with 0 from now on: who looks at their increase would miss the first one otherwise.
pub fn describe() {
    with_recorder(|recorder| {
        for metric in METRICS {
            let (name, unit, help) = (metric.name.into(), metric.unit(), metric.help.into());
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
    });
    for outcome in ["sent"].iter().chain(Error::CODES) {
        requests(outcome).increment(0);
    }
    dropped_log_lines(0);
    gauge!(BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    gauge!(START_TIME.name).set(now.unwrap_or_default().as_secs_f64());
}

/// Handles of the metrics without labels of many values. Whoever makes one gets the same metrics; made once, they cost
/// an atomic operation each time.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    pub(crate) sent_requests: Counter,
    pub(crate) store_hits: Counter,
    pub(crate) store_misses: Counter,
    pub(crate) store_bytes: Gauge,
    pub(crate) published_chunks: Counter,
    pub(crate) published_bytes: Counter,
    pub(crate) acknowledged_chunks: Counter,
    pub(crate) passes: Counter,
    pub(crate) joins: Counter,
    pub(crate) repeats: Counter,
    pub(crate) acknowledgement: Histogram,
    pub(crate) first_chunk: Histogram,
    pub(crate) last_chunk: Histogram,
    pub(crate) open_requests: Gauge,
    pub(crate) open_transfers: Gauge,
    pub(crate) waiting_arrivals: Gauge,
    pub(crate) waiting_modules: Gauge,
    pub(crate) waiting_changes: Gauge,
    pub(crate) in_flight_bytes: Gauge,
    pub(crate) broker_connected: Gauge,
    pub(crate) broker_connections: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let queue = |queue: &'static str| gauge!(QUEUE_DEPTH.name, "queue" => queue);
        Self {
            sent_requests: requests("sent"),
            store_hits: counter!(STORE_LOOKUPS.name, "result" => "hit"),
            store_misses: counter!(STORE_LOOKUPS.name, "result" => "miss"),
            store_bytes: gauge!(STORE_BYTES.name),
            published_chunks: counter!(PUBLISHED_CHUNKS.name),
            published_bytes: counter!(PUBLISHED_BYTES.name),
            acknowledged_chunks: counter!(ACKNOWLEDGED_CHUNKS.name),
            passes: counter!(PASSES.name),
            joins: counter!(JOINS.name),
            repeats: counter!(REPEATS.name),
            acknowledgement: histogram!(ACKNOWLEDGEMENT.name),
            first_chunk: histogram!(FIRST_CHUNK.name),
            last_chunk: histogram!(LAST_CHUNK.name),
            open_requests: gauge!(OPEN_REQUESTS.name),
            open_transfers: gauge!(OPEN_TRANSFERS.name),
            waiting_arrivals: queue("arrivals"),
            waiting_modules: queue("modules"),
            waiting_changes: queue("state"),
            in_flight_bytes: gauge!(IN_FLIGHT_BYTES.name),
            broker_connected: gauge!(BROKER_CONNECTED.name),
            broker_connections: counter!(BROKER_CONNECTIONS.name),
        }
    }
}

/// Sets a gauge to a number of things or bytes.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float, exact up to 2^53")]
pub(crate) fn set(gauge: &Gauge, count: u64) {
    gauge.set(count as f64);
}

/// Requests that ended with `sent` or an error code.
pub(crate) fn requests(outcome: &'static str) -> Counter {
    counter!(REQUESTS.name, "outcome" => outcome)
}

/// Requests to a registry, by their outcome: `ok` or an error code.
pub(crate) fn fetches(registry: &str, outcome: &'static str) -> Counter {
    counter!(FETCHES.name, "registry" => registry.to_owned(), "outcome" => outcome)
}

/// Bytes that came from a registry.
pub(crate) fn fetched_bytes(registry: &str) -> Counter {
    counter!(FETCHED_BYTES.name, "registry" => registry.to_owned())
}

/// Whether the configured registry answers. It has no value before the first request.
pub(crate) fn registry_up(is_up: bool) {
    gauge!(REGISTRY_UP.name).set(u8::from(is_up));
}

/// So many lines of the program's log were dropped.
pub fn dropped_log_lines(lines: u64) {
    counter!(DROPPED_LOG_LINES.name).increment(lines);
}
