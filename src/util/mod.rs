//! What every part needs and none owns: time, locks, caches, files, the table of metrics.
//!
//! It knows nothing of modules, brokers or registries, and must never import another part but [`crate::error`].

pub mod authority;
pub mod clock;
pub mod fields;
pub mod file;
pub mod metrics;
pub mod sync;
pub mod ttl_cache;

use serde::Serialize;

/// Writes what has nothing in it that JSON cannot hold.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
