//! An MQTT broker and an OCI registry inside the process: the demo, tests and fixtures need nothing installed.
//!
//! It knows what a delivery takes besides the proxy. The proxy must never know it.

pub mod broker;
pub mod layout;
mod port;
pub mod registry;
pub mod sample;
