//! Time for the delivery rules: monotonic while the process runs, and comparable with that of the next process.

use std::fs;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds. By the [`Clock`] of a state it counts from about 1970-01-01 00:00 UTC, but is no
/// calendar time: it goes on from process to process, whatever the system's clock says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The calendar time, by the system's clock: for people and other machines.
    #[must_use]
    pub fn of_system() -> Self {
        Self::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The duration since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// As in `2026-11-22T21:00:00.123Z` (RFC 3339, section 5.6).
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.0)).fmt(f)
    }
}

/// A clock that only goes forward: no step of the system's clock (NTP, an operator, a board without a battery) shifts it,
/// and it goes on while the process is stopped or the system is suspended.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Time,
    /// The uptime at `start`.
    uptime: Duration,
}

impl Clock {
    /// A clock by which it is now `start`.
    #[must_use]
    pub fn from(start: Time) -> Self {
        Self { start, uptime: uptime() }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.start + uptime().saturating_sub(self.uptime)
    }
}

/// A time by the [`Clock`] of a process, with what a later process can compare it by, whatever the system's clock says then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The time.
    pub time: Time,
    /// Which start of the system it was in; empty if that is unknown.
    pub boot_id: String,
    /// How long after that start.
    pub uptime: Duration,
}

/// How a stamp compares with the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elapsed {
    /// So long ago.
    Exactly(Duration),
    /// So long ago, or longer: the system was started since.
    AtLeast(Duration),
    /// Nothing is known.
    Unknown,
}

impl Stamp {
    /// The stamp of `time`, which is now.
    #[must_use]
    pub fn of(time: Time) -> Self {
        // Without it, later processes know less.
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { time, boot_id: boot_id.trim().to_owned(), uptime: uptime() }
    }

    /// How long before `now` it was.
    #[must_use]
    pub fn elapsed(&self, now: &Self) -> Elapsed {
        if self.boot_id.is_empty() || now.boot_id.is_empty() {
            Elapsed::Unknown
        } else if self.boot_id != now.boot_id {
            Elapsed::AtLeast(now.uptime)
        } else {
            // A virtual machine that was reset to a snapshot has gone back.
            now.uptime.checked_sub(self.uptime).map_or(Elapsed::Unknown, Elapsed::Exactly)
        }
    }
}

/// How long ago the system was started, suspension included.
fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_from_where_it_is_started() {
        let clock = Clock::from(Time(7_000));
        let (first, second) = (clock.now(), clock.now());
        assert!(first >= Time(7_000) && second >= first && second.since(Time(7_000)) < Duration::from_secs(60));
    }

    #[test]
    fn stamps_compare_by_the_start_of_the_system_and_its_uptime() {
        let stamp = |boot_id: &str, uptime| Stamp {
            time: Time(uptime * 1_000_000),
            boot_id: boot_id.into(),
            uptime: Duration::from_secs(uptime),
        };
        let elapsed = |before: &Stamp, now: &Stamp| before.elapsed(now);
        assert_eq!(elapsed(&stamp("a", 5), &stamp("a", 9)), Elapsed::Exactly(Duration::from_secs(4)));
        assert_eq!(elapsed(&stamp("a", 5), &stamp("b", 9)), Elapsed::AtLeast(Duration::from_secs(9)));
        assert_eq!(elapsed(&stamp("a", 9), &stamp("a", 5)), Elapsed::Unknown, "a snapshot");
        assert_eq!(elapsed(&stamp("", 5), &stamp("", 9)), Elapsed::Unknown);
        let now = Stamp::of(Time(7));
        assert_eq!(now.time, Time(7));
        assert!(matches!(now.elapsed(&Stamp::of(Time(8))), Elapsed::Exactly(_)), "{now:?}");
    }
}
