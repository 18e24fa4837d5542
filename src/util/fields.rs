//! Fields of spans and events.

/// A count as a field. OpenTelemetry has no unsigned integers: one would be exported as text.
pub(crate) fn int(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
