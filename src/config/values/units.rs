//! Booleans, sizes and durations, as Go writes them.

use std::time::Duration;

/// Reads what Go's `strconv.ParseBool` reads.
pub(in crate::config) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a number of bytes, with a unit or without.
pub(in crate::config) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Reads a size over zero.
pub(in crate::config) fn positive_size(text: &str) -> Option<u64> {
    size(text).filter(|size| *size > 0)
}

/// Reads a duration over zero, such as `30s`, `1m30s` or `500ms`.
#[must_use]
pub fn positive_duration(text: &str) -> Option<Duration> {
    duration(text).filter(|duration| !duration.is_zero())
}

/// Reads a duration as Go's `time.ParseDuration` does: decimal numbers with units, such as `1m30s` or `1.5h`;
/// `0` needs no unit.
pub(in crate::config) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, expected) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            ("+1s", 1000),
            (".5s", 500),
            ("2000us", 2),
            ("2000µs", 2),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(expected)), "{text}");
        }
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(positive_duration("0s"), None);
        for text in ["", "+", "-1s", "30", "s", "1 s", "1d", "1..5s", "1e3s", "99999999999999999999h", "ms500"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_or_decimal_units() {
        for (text, expected) in
            [("0", 0), ("1000", 1000), ("1 B", 1), ("64KiB", 65_536), ("10MiB", 10 << 20), ("1GB", 1_000_000_000)]
        {
            assert_eq!(size(text), Some(expected), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5GiB", "1K", "1 gib", "99999999999GiB", "1GiB "] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean("F"), Some(false));
        for text in ["yes", "tRUE", "on", "", " true"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }
}
