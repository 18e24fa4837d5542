//! OCI registries: from a reference to a verified module on disk, and from a module to a registry.
//!
//! It knows HTTP and the OCI specifications. It must never know MQTT, devices or chunks.
//!
//! A file imports files of the lines above its own only, or further left in its own line:
//!
//! ```text
//! digest, name, host, reference, refusal
//! blob, wasm, options, artifact
//! manifest, archive, cosign, policy
//! store
//! registry
//! pull
//! ```

pub(crate) mod archive;
pub mod artifact;
pub mod blob;
pub(crate) mod cosign;
pub mod digest;
pub mod host;
pub(crate) mod manifest;
pub(crate) mod name;
pub mod options;
pub(crate) mod policy;
pub mod pull;
pub mod reference;
pub(crate) mod refusal;
pub mod registry;
pub mod store;
pub mod wasm;
