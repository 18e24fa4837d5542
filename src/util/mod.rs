//! What several folders need: time, locks, shares, a cache, files, JSON, the table of metrics.
//!
//! It knows the operating system and the standard library. It must never know modules, brokers or registries, and
//! imports nothing of this crate but [`crate::error`].

pub mod authority;
pub mod clock;
pub mod fair;
pub mod file;
pub mod metrics;
pub mod sync;
pub mod ttl_cache;

use serde::{Deserialize, Deserializer, Serialize};

/// A count as a field of a span or an event. OpenTelemetry has no unsigned integers: one would be exported as text.
pub(crate) fn int(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Serializes a value whose type JSON can always hold.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What a flag is that an earlier release did not write.
pub(crate) fn yes() -> bool {
    true
}

/// Deserializes a flag, or the count that an earlier release wrote in its place.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Flag(bool),
        Count(u64),
    }
    Ok(match Value::deserialize(deserializer)? {
        Value::Flag(flag) => flag,
        Value::Count(count) => count > 0,
    })
}
