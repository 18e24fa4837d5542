//! The extension module `propeller_proxy._core`: it converts arguments, calls the core, and converts results.
//!
//! It knows the core's API and Python's, and must never know a rule of delivery. A call that takes time returns a
//! [`job::Job`], for which the package `propeller_proxy` waits, blocking or in an event loop. The documented API is that of
//! the package.
//!
//! Imports run one way: `failure`, `interpreter` ← `own`, `callbacks`, `log_queue` ← `runtime` ← `logs`, `job` ← `batch`,
//! `events` ← the classes.

mod batch;
mod callbacks;
mod chunks;
mod embedded;
mod events;
mod failure;
mod interpreter;
mod job;
mod log_queue;
mod logs;
mod own;
mod proplet;
mod proxy;
mod reference;
mod registry;
mod runtime;
mod settings;

use pyo3::pymodule;

#[pymodule]
mod _core {
    use std::ffi::OsString;

    use propeller_proxy::embedded::sample;
    use propeller_proxy::error::Error;
    use propeller_proxy::oci::artifact::Shape;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[pymodule_export]
    use crate::chunks::{cut, digest, encode, message_size};
    #[pymodule_export]
    use crate::embedded::{Broker, EmbeddedRegistry};
    #[pymodule_export]
    use crate::events::Events;
    #[pymodule_export]
    use crate::job::Job;
    #[pymodule_export]
    use crate::logs::flush_logs;
    #[pymodule_export]
    use crate::proplet::Proplet;
    #[pymodule_export]
    use crate::proxy::Proxy;
    #[pymodule_export]
    use crate::reference::Reference;
    #[pymodule_export]
    use crate::registry::Registry;

    /// The version of the core.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python packages give it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("ERROR_CODES", Error::CODES.to_vec())?;
        module.add("SHAPES", Shape::ALL.map(Shape::name).to_vec())?;
        module.add("ADD", PyBytes::new(py, &sample::ADD))?;
        crate::settings::add_to(module)?;
        crate::logs::install();
        // atexit calls it before the interpreter finalises its modules.
        let exit = pyo3::wrap_pyfunction!(crate::runtime::exit, module)?;
        py.import("atexit")?.call_method1("register", (exit,))?;
        Ok(())
    }

    /// Runs the command line `args`, which begins with the program's name; returns the exit status.
    #[pyfunction]
    fn main(py: Python<'_>, args: Vec<OsString>) -> u8 {
        py.detach(|| propeller_proxy_daemon::main(args))
    }

    /// A valid, incompressible core module of `size` bytes, at least 15.
    #[pyfunction]
    fn noise(py: Python<'_>, size: usize, seed: u64) -> Bound<'_, PyBytes> {
        PyBytes::new(py, &py.detach(|| sample::noise(size, seed)))
    }
}
