//! A device.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use propeller_proxy::config;
use propeller_proxy::device::{self, Assembled, Reception, RequestOptions, SeenChunk};
use propeller_proxy::mqtt::Acknowledgement;
use propeller_proxy::mqtt::BrokerOptions;
use propeller_proxy::mqtt::topic::{Channel, Layout, is_topic_level};
use propeller_proxy::oci::digest::Digest;
use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use tokio_util::sync::CancellationToken;

use crate::events::seconds;
use crate::failure::Failure;
use crate::job::{Job, Progress, Reply, none};
use crate::own::Own;
use crate::proxy::parse_layout;
use crate::settings::{Settings, sources};

/// A proplet, which is connected between `start` and `stop`, any number of times.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Proplet(Own<Arc<Inner>>);

struct Inner {
    mqtt: BrokerOptions,
    channel: Channel,
    layout: Layout,
    connected: Mutex<Option<Arc<Connected>>>,
    /// The chunks that were received before the last stop.
    seen: Mutex<Vec<SeenChunk>>,
}

/// The connection from one start to its stop.
struct Connected {
    proplet: device::Proplet,
    closed: CancellationToken,
}

impl Inner {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Connected>>> {
        lock(&self.connected)
    }

    fn connected(&self) -> Result<Arc<Connected>, Failure> {
        self.slot().clone().ok_or_else(|| Failure::Closed("the proplet is not started".into()))
    }

    async fn start(&self) -> Result<(), Failure> {
        let proplet = device::Proplet::connect(&self.mqtt, &self.channel, self.layout).await?;
        *self.slot() = Some(Arc::new(Connected { proplet, closed: CancellationToken::new() }));
        Ok(())
    }
}

impl Connected {
    /// Waits for `work`; fails if the proplet is stopped.
    async fn unless_closed<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.closed.cancelled() => Err(Failure::Closed("the proplet was stopped".into())),
        }
    }
}

#[pymethods]
impl Proplet {
    /// Checks the settings, without a connection.
    #[new]
    fn new(settings: Settings, domain: String, channel: String, layout: &str) -> PyResult<Self> {
        let mqtt = config::load(&sources(settings)).map_err(Failure::from)?;
        let wrong = |message: &str| Failure::Configuration(message.into());
        if !is_topic_level(&domain) || !is_topic_level(&channel) {
            return Err(wrong("domain and channel are ids without / + # and control characters").into());
        }
        let layout = parse_layout(layout).ok_or_else(|| wrong("layout is plain or messages"))?;
        let channel = Channel { domain, id: channel };
        Ok(Self(Own::new(Arc::new(Inner {
            mqtt,
            channel,
            layout,
            connected: Mutex::default(),
            seen: Mutex::default(),
        }))))
    }

    /// Connects; done when the broker has acknowledged the subscription.
    fn start(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move { inner.start().await.map(|()| none()) })?)
    }

    /// Disconnects.
    fn stop(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move {
            let connected = inner.slot().take();
            if let Some(connected) = connected {
                connected.closed.cancel();
                *lock(&inner.seen) = connected.proplet.seen();
                // If a request still holds the connection, it closes with that.
                if let Some(Connected { proplet, .. }) = Arc::into_inner(connected) {
                    proplet.close().await;
                }
            }
            Ok(none())
        })?)
    }

    /// Publishes a request; done when the broker has acknowledged it.
    fn ask(&self, app_name: String) -> PyResult<Job> {
        let connected = self.0.get()?.connected()?;
        Ok(Job::start(async move {
            let published = connected.unless_closed(async {
                // Published again if the session ended before the acknowledgement.
                while connected.proplet.publish_request(&app_name).await == Acknowledgement::Lost {}
                Ok(none())
            });
            published.await
        })?)
    }

    /// Requests a module, assembles and verifies it; the result is its fields. The progress counts chunks.
    fn request(&self, app_name: String, timeout: f64, digest: Option<String>, strict: bool) -> PyResult<Job> {
        let connected = self.0.get()?.connected()?;
        let digest: Option<Digest> = digest
            .map(|digest| digest.parse())
            .transpose()
            .map_err(|()| Failure::Configuration("digest is sha256: and 64 hexadecimal digits".into()))?;
        let timeout = Duration::try_from_secs_f64(timeout)
            .map_err(|_| Failure::Configuration("timeout is a finite number of seconds, 0 or more".into()))?;
        let request = RequestOptions { timeout, digest, is_strict: strict };
        let (progress, name) = (Progress::default(), app_name.clone());
        let (weak, last) = (Arc::downgrade(&connected), progress.clone());
        let current = move || weak.upgrade().map(|connected| connected.proplet.progress(&name));
        Ok(Job::start_with_progress(move || last.advance(current()), async move {
            let obtained =
                async { connected.proplet.obtain(&app_name, &request).await.map_err(Failure::of(&app_name)) };
            let assembled = connected.unless_closed(obtained).await?;
            progress.complete(assembled.pieces.len() as u64);
            Ok(Box::new(move |py: Python<'_>| module_dict(py, &app_name, &assembled)) as Reply)
        })?)
    }

    /// The chunks since the last start, in order of arrival.
    fn chunks(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let inner = self.0.get()?;
        let seen = match inner.connected() {
            Ok(connected) => connected.proplet.seen(),
            Err(_) => lock(&inner.seen).clone(),
        };
        let dicts = seen.iter().map(|chunk| chunk_dict(py, chunk)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, dicts)?.into_any().unbind())
    }
}

fn module_dict(py: Python<'_>, reference: &str, assembled: &Assembled) -> PyResult<Py<PyAny>> {
    let Assembled { pieces, digest, is_verified } = assembled;
    let size = pieces.iter().map(Vec::len).sum();
    let data = PyBytes::new_with(py, size, |mut rest| {
        for piece in pieces {
            let (place, after) = rest.split_at_mut(piece.len());
            place.copy_from_slice(piece);
            rest = after;
        }
        Ok(())
    })?;
    let fields = PyDict::new(py);
    fields.set_item("data", data)?;
    fields.set_item("reference", reference)?;
    fields.set_item("digest", digest.to_string())?;
    fields.set_item("size", size)?;
    fields.set_item("verified", is_verified)?;
    Ok(fields.into_any().unbind())
}

fn chunk_dict<'py>(py: Python<'py>, chunk: &SeenChunk) -> PyResult<Bound<'py, PyDict>> {
    let outcome = match chunk.reception {
        Reception::Stored => "stored",
        Reception::Repeated => "repeated",
        Reception::OtherTotal => "other-total",
        Reception::Unreadable => "unreadable",
    };
    let fields = PyDict::new(py);
    fields.set_item("app_name", &*chunk.app_name)?;
    fields.set_item("index", chunk.index)?;
    fields.set_item("total_chunks", chunk.total_chunks)?;
    fields.set_item("size", chunk.size)?;
    fields.set_item("outcome", outcome)?;
    fields.set_item("time", seconds(chunk.time))?;
    Ok(fields)
}
