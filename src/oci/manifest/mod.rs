//! Manifests: what they contain, and which manifest and layer hold the module.
//!
//! It knows the OCI image specification and the shapes in which Wasm is published. It must never know how a manifest is
//! fetched or stored.

mod layer;
mod metadata;
mod platform;
mod schema;

pub(crate) use self::layer::{Content, SelectedLayer, select_layer};
pub(crate) use self::metadata::Metadata;
pub(crate) use self::platform::select_manifest;
pub(crate) use self::schema::{ACCEPT, Entry, Image, MAX_MANIFEST_SIZE, Manifest, command};
