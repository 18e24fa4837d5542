//! What several folders need: time, locks, a cache, files, JSON, the table of metrics.
//!
//! It knows the operating system and the standard library. It must never know modules, brokers or registries, and
//! imports nothing of this crate but [`crate::error`].

pub mod authority;
pub mod clock;
pub mod fields;
pub mod file;
pub mod metrics;
pub mod sync;
pub mod ttl_cache;

use serde::Serialize;

/// Serializes a value whose type JSON can always hold.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
