//! References of modules.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use propeller_proxy::oci::reference::{self, Version};
use pyo3::prelude::*;

use crate::failure::Failure;

/// The reference of a module: registry, repository, and tag or digest; and a selector among several modules.
#[pyclass(frozen, eq, module = "propeller_proxy._core")]
#[derive(PartialEq)]
pub(crate) struct Reference(reference::Reference);

#[pymethods]
impl Reference {
    /// Parses `[oci://][host[:port]/]repository[:tag][@digest][#selector]`; names without a host resolve against
    /// `registry_url`.
    #[staticmethod]
    #[pyo3(signature = (text, registry_url = "docker.io"))]
    fn parse(text: &str, registry_url: &str) -> PyResult<Self> {
        let wrong =
            |()| Failure::Configuration(format!("{registry_url:?} is no registry; give [http://]host[:port][/prefix]"));
        let default = registry_url.parse().map_err(wrong)?;
        Ok(Self(reference::Reference::parse(text, &default).map_err(Failure::of(text))?))
    }

    #[getter]
    fn registry(&self) -> &str {
        &self.0.registry
    }

    #[getter]
    fn repository(&self) -> &str {
        &self.0.repository
    }

    #[getter]
    fn tag(&self) -> Option<&str> {
        match &self.0.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    #[getter]
    fn digest(&self) -> Option<String> {
        match &self.0.version {
            Version::Tag(_) => None,
            Version::Digest(digest) => Some(digest.to_string()),
        }
    }

    #[getter]
    fn selector(&self) -> Option<&str> {
        self.0.selector.as_deref()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Reference({:?})", self.0.to_string())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}
