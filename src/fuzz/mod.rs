//! What the parsers of foreign bytes must hold to, whatever comes: the bodies of the fuzz targets in `fuzz/`, which the
//! tests run on generated input, too.
//!
//! A body gives any bytes to one parser, and panics if the result breaks an invariant. It knows the parsers; nothing may
//! import it, and no release contains it.

mod archive;
mod challenge;
mod docker;
mod manifest;
mod reference;
mod request;
mod rules;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod text;

pub use self::archive::archive;
pub use self::challenge::challenge;
pub use self::docker::docker_config;
pub use self::manifest::manifest;
pub use self::reference::reference;
pub use self::request::request;
pub use self::state::state_record;
pub use self::status::status_message;

/// Panics if a parser breaks an invariant with these bytes.
pub type Body = fn(&[u8]);

/// The bodies, by the names of their targets.
pub const TARGETS: [(&str, Body); 8] = [
    ("archive", archive),
    ("challenge", challenge),
    ("docker_config", docker_config),
    ("manifest", manifest),
    ("reference", reference),
    ("request", request),
    ("state_record", state_record),
    ("status_message", status_message),
];
