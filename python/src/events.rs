//! Events of a proxy, as they happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use propeller_proxy::telemetry::events::{Event, Report, What};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::job::{Job, Reply};
use crate::own::Own;

/// Events that Python gets at once.
#[doc(alias = "bound")]
const MAX_BATCH: usize = 1024;

/// A subscription to the events of a proxy.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Events(Own<Arc<Subscription>>);

struct Subscription {
    events: Mutex<Receiver<Event>>,
    missed: AtomicU64,
    /// Cancelled when the proxy has stopped.
    ended: CancellationToken,
}

impl Events {
    pub(crate) fn new(events: Receiver<Event>, ended: CancellationToken) -> Self {
        Self(Own::new(Arc::new(Subscription { events: Mutex::new(events), missed: AtomicU64::new(0), ended })))
    }
}

impl Subscription {
    /// Waits for an event and returns it with those behind it in the buffer; none when the proxy has stopped.
    async fn batch(&self) -> Vec<Event> {
        let mut events = self.events.lock().await;
        let mut batch = Vec::new();
        while batch.is_empty() {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = self.ended.cancelled() => break,
            };
            match event {
                Ok(event) => batch.push(event),
                Err(RecvError::Lagged(missed)) => self.miss(missed),
                Err(RecvError::Closed) => break,
            }
        }
        self.drain(&mut events, &mut batch);
        batch
    }

    /// Moves events from the buffer to `batch`, up to its bound, without waiting.
    fn drain(&self, events: &mut Receiver<Event>, batch: &mut Vec<Event>) {
        while batch.len() < MAX_BATCH {
            match events.try_recv() {
                Ok(event) => batch.push(event),
                Err(TryRecvError::Lagged(missed)) => self.miss(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn miss(&self, missed: u64) {
        self.missed.fetch_add(missed, Ordering::Relaxed);
    }
}

#[pymethods]
impl Events {
    /// The next events, at least one; none when the proxy has stopped.
    fn next(&self) -> PyResult<Job> {
        let subscription = Arc::clone(self.0.get()?);
        Ok(Job::start(async move {
            let batch = subscription.batch().await;
            Ok(Box::new(move |py: Python<'_>| list(py, &batch)) as Reply)
        })?)
    }

    /// The events in the buffer; none while a job waits for the next ones.
    fn drain(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let subscription = self.0.get()?;
        let mut all = Vec::new();
        if let Ok(mut events) = subscription.events.try_lock() {
            loop {
                let mut batch = Vec::new();
                subscription.drain(&mut events, &mut batch);
                if batch.is_empty() {
                    break;
                }
                all.append(&mut batch);
            }
        }
        list(py, &all)
    }

    /// The number of events that were dropped because they were not read in time.
    #[getter]
    fn missed(&self) -> PyResult<u64> {
        Ok(self.0.get()?.missed.load(Ordering::Relaxed))
    }
}

fn list(py: Python<'_>, events: &[Event]) -> PyResult<Py<PyAny>> {
    let dicts = events.iter().map(|event| dict(py, event)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, dicts)?.into_any().unbind())
}

/// Seconds since the epoch.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The fields that apply to an event.
fn dict<'py>(py: Python<'py>, Event { time, app, what }: &Event) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("time", seconds(*time))?;
    if let Some(app) = app {
        fields.set_item("app_name", &*app.name)?;
        fields.set_item("domain", &app.channel.domain)?;
        fields.set_item("channel", &app.channel.id)?;
    }
    let kind = match what {
        What::Connected => "connected",
        What::Disconnected => "disconnected",
        What::Requested => "requested",
        What::Joined { requests } => {
            fields.set_item("count", requests)?;
            "joined"
        }
        What::Fetching => "fetching",
        What::Fetched { digest, size } => {
            fields.set_item("digest", digest.to_string())?;
            fields.set_item("size", size)?;
            "fetched"
        }
        What::Verified { digest, plan } => {
            fields.set_item("digest", digest.to_string())?;
            fields.set_item("size", plan.size())?;
            fields.set_item("total_chunks", plan.total_chunks())?;
            "verified"
        }
        What::Published { index, size } => {
            fields.set_item("index", index)?;
            fields.set_item("size", size)?;
            "published"
        }
        What::Acknowledged { index, size } => {
            fields.set_item("index", index)?;
            fields.set_item("size", size)?;
            "acknowledged"
        }
        What::Sent(report) => {
            set_report(&fields, report)?;
            "sent"
        }
        What::Repeated(report) => {
            set_report(&fields, report)?;
            "repeated"
        }
        What::Failed(error) => {
            fields.set_item("error", error.code())?;
            fields.set_item("message", error.to_string())?;
            "failed"
        }
    };
    fields.set_item("kind", kind)?;
    Ok(fields)
}

fn set_report(fields: &Bound<'_, PyDict>, report: &Report) -> PyResult<()> {
    fields.set_item("digest", report.digest.to_string())?;
    fields.set_item("size", report.plan.size())?;
    fields.set_item("total_chunks", report.plan.total_chunks())?;
    fields.set_item("count", report.sent_chunks)?;
    fields.set_item("seconds", (report.fetching + report.sending).as_secs_f64())
}
