//! Numbers in traces.

/// A count as spans and events take it: OpenTelemetry has no unsigned integers, and text would be made of one.
pub(crate) fn int(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
