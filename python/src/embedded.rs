//! A broker and a registry in this process.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

use propeller_proxy::embedded::broker::{self, Access};
use propeller_proxy::embedded::layout::Layout;
use propeller_proxy::embedded::registry;
use propeller_proxy::error::{Detail, Error};
use propeller_proxy::oci::blob::Descriptor;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::failure::Failure;
use crate::job::{Job, Reply, none};
use crate::own::Own;
use crate::registry::{descriptor_dict, parse_shape};

fn setup_failure(error: &impl ToString) -> Failure {
    Failure::Setup(error.to_string())
}

fn bad_name(name: &str, reason: &str) -> Failure {
    Error::BadReference { app_name: name.into(), reason: reason.into() }.into()
}

/// A server that can be started and stopped any number of times, on one port.
struct Slot<T> {
    port: OnceLock<u16>,
    running: Mutex<Option<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { port: OnceLock::new(), running: Mutex::default() }
    }
}

trait Server: Sized + Send + 'static {
    fn port(&self) -> u16;
    fn stop(self) -> impl Future<Output = ()> + Send;
}

impl Server for broker::Broker {
    fn port(&self) -> u16 {
        self.port()
    }

    fn stop(self) -> impl Future<Output = ()> + Send {
        self.stop()
    }
}

impl Server for registry::Registry {
    fn port(&self) -> u16 {
        self.port()
    }

    fn stop(self) -> impl Future<Output = ()> + Send {
        self.stop()
    }
}

impl<T: Server> Slot<T> {
    /// `127.0.0.1:port`, after the first start.
    fn address(&self) -> Result<String, Failure> {
        let port = self.port.get().ok_or_else(|| Failure::Closed("it was not started yet".into()))?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// Starts the server unless it runs: on any free port, and on the same from the second time on.
    async fn start<F>(&self, start_on: impl FnOnce(u16) -> F + Send) -> Result<Reply, Failure>
    where
        F: Future<Output = io::Result<T>> + Send,
    {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let server =
                start_on(self.port.get().copied().unwrap_or(0)).await.map_err(|error| setup_failure(&error))?;
            // Set once: later starts are on the same port.
            let _ = self.port.set(server.port());
            *running = Some(server);
        }
        Ok(none())
    }

    async fn stop(&self) -> Result<Reply, Failure> {
        if let Some(server) = self.running.lock().await.take() {
            server.stop().await;
        }
        Ok(none())
    }
}

/// An MQTT broker on a loopback port.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Broker(Own<Arc<BrokerInner>>);

struct BrokerInner {
    users: HashMap<String, String>,
    slot: Slot<broker::Broker>,
}

#[pymethods]
impl Broker {
    /// A broker for these users and their passwords; without any, there is no authentication.
    #[new]
    fn new(users: HashMap<String, String>) -> Self {
        Self(Own::new(Arc::new(BrokerInner { users, slot: Slot::default() })))
    }

    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(format!("tcp://{}", self.0.get()?.slot.address()?))
    }

    fn start(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        let access = if inner.users.is_empty() {
            Access::Anonymous
        } else {
            Access::Users(inner.users.clone().into_iter().collect())
        };
        Ok(Job::start(async move { inner.slot.start(|port| broker::Broker::start_on(port, access)).await })?)
    }

    fn stop(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move { inner.slot.stop().await })?)
    }
}

/// An OCI registry on a loopback port, with its artifacts in a temporary folder.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct EmbeddedRegistry(Own<Arc<RegistryInner>>);

struct RegistryInner {
    folder: TempDir,
    layout: Layout,
    slot: Slot<registry::Registry>,
}

impl RegistryInner {
    /// Calls `work` with the running registry.
    fn with_running<T>(&self, py: Python<'_>, work: impl FnOnce(&registry::Registry) -> T + Send) -> Result<T, Failure>
    where
        T: Send,
    {
        py.detach(|| self.slot.running.blocking_lock().as_ref().map(work))
            .ok_or_else(|| Failure::Closed("the registry does not run".into()))
    }
}

#[pymethods]
impl EmbeddedRegistry {
    #[new]
    fn new() -> PyResult<Self> {
        let folder = tempfile::tempdir().map_err(|error| setup_failure(&error))?;
        let layout = Layout::create(folder.path()).map_err(|error| setup_failure(&error))?;
        Ok(Self(Own::new(Arc::new(RegistryInner { folder, layout, slot: Slot::default() }))))
    }

    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(format!("http://{}", self.0.get()?.slot.address()?))
    }

    fn start(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move {
            inner.slot.start(|port| registry::Registry::start_on(port, inner.folder.path())).await
        })?)
    }

    fn stop(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move { inner.slot.stop().await })?)
    }

    /// Pushes a module as `repository:tag`.
    fn push<'py>(
        &self,
        py: Python<'py>,
        repository: &str,
        tag: &str,
        wasm: &[u8],
        shape: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.0.get()?;
        let shape = parse_shape(shape)?;
        let name = format!("{}/{repository}:{tag}", inner.slot.address()?);
        let pushed = py.detach(|| inner.layout.push(repository, tag, wasm, shape));
        let pushed = pushed.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => bad_name(&name, "it is not made of a repository and a tag"),
            _ => setup_failure(&error),
        })?;
        let Descriptor { digest, size, media_type } = pushed.manifest.descriptor();
        let fields = descriptor_dict(py, &name, &media_type, &digest.to_string(), size)?;
        fields.set_item("layer", pushed.layer.digest.to_string())?;
        Ok(fields)
    }

    /// Answers the next `times` requests with `status`.
    fn fail_next(&self, py: Python<'_>, status: u16, times: u32) -> PyResult<()> {
        Ok(self.0.get()?.with_running(py, |registry| registry.fail_next(status, times))?)
    }

    /// Serves a blob with a flipped bit from now on.
    fn tamper(&self, py: Python<'_>, digest: &str) -> PyResult<()> {
        let tampered = self.0.get()?.with_running(py, |registry| registry.tamper(digest))?;
        Ok(tampered.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::UnknownImage { reference: digest.into(), detail: Detail::new("there is no such blob") }.into()
            }
            io::ErrorKind::InvalidInput => bad_name(digest, "it is not the digest of a blob with at least one byte"),
            _ => setup_failure(&error),
        })?)
    }

    /// The HTTP requests so far, in order of arrival.
    fn requests(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.0.get()?.with_running(py, registry::Registry::requests)?)
    }
}
