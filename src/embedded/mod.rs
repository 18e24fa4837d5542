//! An MQTT broker and an OCI registry inside the process: the demo, tests and fixtures need nothing installed.
//!
//! It knows the servers around a proxy, and image layouts. The service must never know it; it must never know the
//! service, and imports [`crate::util`] and the artifacts, digests, references and Wasm preamble of [`crate::oci`].

pub mod broker;
mod faults;
pub mod layout;
mod port;
pub mod registry;
pub mod sample;
