//! Registries: resolve, fetch and push.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use propeller_proxy::config;
use propeller_proxy::error::Error;
use propeller_proxy::oci::artifact::{Artifact, Shape};
use propeller_proxy::oci::host::RegistryUrl;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::pull::{Pulled, Puller, Resolved};
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::oci::registry::Progress as Download;
use propeller_proxy::oci::store::StoreOptions;
use propeller_proxy::oci::wasm;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::failure::Failure;
use crate::job::{Job, Progress, Reply};
use crate::own::Own;
use crate::settings::{Settings, sources};

/// A client of registries, with the rules of the proxy.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Registry(Own<Arc<Inner>>);

struct Inner {
    url: RegistryUrl,
    puller: Puller,
}

impl Inner {
    fn reference(&self, text: &str) -> Result<Reference, Failure> {
        Reference::parse(text, &self.url).map_err(Failure::of(text))
    }
}

#[pymethods]
impl Registry {
    /// Checks the settings and opens the store, without a connection.
    #[new]
    fn new(py: Python<'_>, settings: Settings) -> PyResult<Self> {
        let (registry, store): (RegistryOptions, StoreOptions) =
            config::load(&sources(settings)).map_err(Failure::from)?;
        let puller = py.detach(|| Puller::new(&registry, &store)).map_err(Failure::from)?;
        Ok(Self(Own::new(Arc::new(Inner { url: registry.url, puller }))))
    }

    #[getter]
    fn url(&self) -> PyResult<String> {
        let url = &self.0.get()?.url;
        Ok(format!("{}://{url}", url.scheme))
    }

    /// Resolves a reference; the result is the fields of the descriptor.
    fn resolve(&self, reference: &str) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        let parsed = inner.reference(reference)?;
        Ok(Job::start(async move {
            let name = parsed.to_string();
            let resolved = inner.puller.resolve(&parsed).await.map_err(Failure::of(&name))?;
            Ok(Box::new(move |py: Python<'_>| {
                let Resolved { media_type, digest, size, annotations } = resolved;
                let fields = descriptor_dict(py, &name, &media_type, &digest.to_string(), size)?;
                fields.set_item("annotations", annotations)?;
                Ok(fields.into_any().unbind())
            }) as Reply)
        })?)
    }

    /// Fetches and verifies a module; the result is its fields. The progress counts bytes.
    fn fetch(&self, reference: &str) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        let parsed = inner.reference(reference)?;
        let (progress, download) = (Progress::default(), Arc::<Download>::default());
        let (last, current) = (progress.clone(), Arc::clone(&download));
        Ok(Job::start_with_progress(move || last.advance(Some(current.bytes())), async move {
            let name = parsed.to_string();
            let failed = Failure::of(&name);
            let pulled = inner.puller.pull_watched(&parsed, &download).await.map_err(&failed)?;
            let read = tokio::task::spawn_blocking(move || {
                wasm::check(&pulled.module)?;
                let data = pulled.module.read()?;
                Ok((pulled, data))
            });
            let read: Result<_, Error> = read.await.map_err(|error| Failure::Setup(error.to_string()))?;
            let (pulled, data) = read.map_err(&failed)?;
            drop(failed);
            progress.complete(pulled.layer.size);
            Ok(Box::new(move |py: Python<'_>| module_dict(py, &name, pulled, &data)) as Reply)
        })?)
    }

    /// Packs and pushes a module; the result is the fields of the descriptor.
    fn push(&self, reference: &str, wasm: &[u8], shape: &str) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        let parsed = inner.reference(reference)?;
        let (wasm, shape) = (Bytes::copy_from_slice(wasm), parse_shape(shape)?);
        Ok(Job::start(async move {
            let name = parsed.to_string();
            let repository = parsed.repository.clone();
            let packing = tokio::task::spawn_blocking(move || Artifact::pack_for(&repository, wasm, shape));
            let artifact = packing.await;
            let artifact = artifact.map_err(|error| Failure::Setup(error.to_string()))?;
            let pushed = inner.puller.push(&parsed, &artifact).await.map_err(Failure::of(&name))?;
            Ok(Box::new(move |py: Python<'_>| {
                let (media_type, digest) = (&pushed.media_type, pushed.digest.to_string());
                Ok(descriptor_dict(py, &name, media_type, &digest, pushed.size)?.into_any().unbind())
            }) as Reply)
        })?)
    }
}

/// Parses the name of a shape.
pub(crate) fn parse_shape(name: &str) -> PyResult<Shape> {
    Shape::from_str(name).map_err(|()| {
        let names = Shape::ALL.map(Shape::name).join(", ");
        PyValueError::new_err(format!("{name:?} is no shape; give one of {names}"))
    })
}

/// The fields of the descriptor of a manifest or index.
pub(crate) fn descriptor_dict<'py>(
    py: Python<'py>,
    reference: &str,
    media_type: &str,
    digest: &str,
    size: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("reference", reference)?;
    fields.set_item("media_type", media_type)?;
    fields.set_item("digest", digest)?;
    fields.set_item("size", size)?;
    Ok(fields)
}

fn module_dict(py: Python<'_>, reference: &str, pulled: Pulled, data: &[u8]) -> PyResult<Py<PyAny>> {
    let Pulled { root, module, layer, annotations, shape } = pulled;
    let fields = PyDict::new(py);
    fields.set_item("data", PyBytes::new(py, data))?;
    fields.set_item("reference", reference)?;
    fields.set_item("digest", module.digest().to_string())?;
    fields.set_item("size", module.size())?;
    fields.set_item("media_type", layer.media_type)?;
    fields.set_item("annotations", annotations)?;
    fields.set_item("shape", shape)?;
    fields.set_item("root", root.to_string())?;
    Ok(fields.into_any().unbind())
}
