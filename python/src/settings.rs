//! Settings as the Python layer hands them over: in place of the environment.

use std::collections::HashMap;
use std::ffi::OsString;

use propeller_proxy::config::{SETTINGS, Setting, Sources};
use pyo3::prelude::*;

/// Values by the names of environment variables.
pub(crate) type Settings = HashMap<String, String>;

/// They as the only source.
pub(crate) fn sources(settings: Settings) -> Sources<'static> {
    Sources::of_variables(move |name| settings.get(name).map(OsString::from))
}

/// A setting of the core: its names, its old names, default, what it accepts, what it does, and whether it is secret.
type Row = (Vec<&'static str>, Vec<&'static str>, Option<&'static str>, &'static str, &'static str, bool);

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let row = |setting: &&Setting| -> Row {
        let (names, old_names) = (setting.names().collect(), setting.old_name.into_iter().collect());
        (names, old_names, setting.default, setting.accepts, setting.help, setting.is_secret)
    };
    module.add("SETTINGS", SETTINGS.iter().map(row).collect::<Vec<_>>())
}
