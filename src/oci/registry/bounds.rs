//! The bounds of one exchange with a registry.

use std::time::Duration;

/// Largest token or error body that is read, bytes.
#[doc(alias = "bound")]
pub(super) const MAX_ANSWER_SIZE: u64 = 64 << 10;
/// How long a registry may be silent before or within a response.
#[doc(alias = "bound")]
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The least rate of a body in either direction, bytes a second.
#[doc(alias = "bound")]
pub(super) const MIN_RATE: u64 = 64 << 10;
/// The time of waiting over which the rate of a body is measured.
#[doc(alias = "bound")]
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(10);
