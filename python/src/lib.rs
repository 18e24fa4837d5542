//! The extension module `propeller_proxy._core`: it converts, calls the core, and decides nothing.

use pyo3::pymodule;

#[pymodule]
mod _core {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    /// The version of the core.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python packages give it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Runs the command line `args`, the first of which is the program's name; returns the exit status.
    #[pyfunction]
    fn main(py: Python<'_>, args: Vec<OsString>) -> u8 {
        py.detach(|| propeller_proxy_daemon::main(args))
    }
}
