//! Repeated measurements of one value.

use std::time::Duration;

/// Measurements, the smallest first.
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The rates of `bytes` in each of `times`, MB/s.
    pub fn rates(bytes: usize, times: &[Duration]) -> Self {
        Self::of(times.iter().map(|time| megabytes(bytes) / time.as_secs_f64()))
    }

    pub fn milliseconds(times: &[Duration]) -> Self {
        Self::of(times.iter().map(|time| time.as_secs_f64() * 1e3))
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// Returns the least value that `percent` of all values do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent).div_ceil(100).max(1) - 1]
    }

    pub fn range(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
