//! Failures of calls, and the exceptions of Python that they become.

use propeller_proxy::config::ConfigError;
use propeller_proxy::error::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the core, and the reference that it concerns, if there is one.
    Core(Error, Option<String>),
    /// A setting or an argument is missing or wrong.
    Configuration(String),
    /// A resource of the process, such as a thread or a file, is not available.
    Setup(String),
    /// The object was not started, or is stopped.
    Closed(String),
    /// The process was forked from one that has a runtime.
    Forked,
    /// The caller has cancelled the job.
    Cancelled,
    /// An exception that Python raised.
    Raised(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error, None)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error.to_string())
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Failure {
    /// Makes failures that concern `reference`.
    pub(crate) fn of(reference: &str) -> impl Fn(Error) -> Self {
        move |error| Self::Core(error, Some(reference.to_owned()))
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| exception(py, failure).unwrap_or_else(|error| error))
    }
}

/// The exception that `propeller_proxy.errors` makes of a failure.
fn exception(py: Python<'_>, failure: Failure) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    let set = |code: &str, stage: Option<&str>, side: Option<&str>, retryable: bool, message: String| {
        fields.set_item("code", code)?;
        fields.set_item("stage", stage)?;
        fields.set_item("side", side)?;
        fields.set_item("retryable", retryable)?;
        fields.set_item("message", message)
    };
    let (mut reference, mut hint) = (None, None);
    match failure {
        Failure::Core(error, about) => {
            set(error.code(), Some(error.stage()), Some(error.side()), error.retryable(), error.to_string())?;
            (reference, hint) = (about, error.hint());
        }
        Failure::Configuration(message) => set("configuration", None, None, false, message)?,
        Failure::Setup(message) => set("setup", None, None, false, message)?,
        Failure::Closed(message) => set("closed", None, None, false, message)?,
        Failure::Forked => {
            let message = "propeller_proxy was in use when this process was forked, and cannot be used in it";
            set("forked", None, None, false, message.into())?;
            hint = Some("start processes by the method \"spawn\", or fork before the first call");
        }
        Failure::Cancelled => set("cancelled", None, None, true, "it was cancelled".into())?,
        Failure::Raised(error) => return Ok(error),
    }
    fields.set_item("reference", reference)?;
    fields.set_item("hint", hint)?;
    let make = MAKE.import(py, "propeller_proxy.errors", "_error")?;
    Ok(PyErr::from_value(make.call((), Some(&fields))?))
}
