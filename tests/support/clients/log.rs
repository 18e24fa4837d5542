//! The daemon's log: one JSON object a line. Tests match its fields; the messages are for people and may change.

use serde_json::Value;

/// Returns the lines whose field `event` is `name`.
pub fn events(log: &str, name: &str) -> Vec<Value> {
    lines(log, name).filter(|line| line["event"] == name).collect()
}

/// Returns the failures: errors with a code.
pub fn failures(log: &str) -> impl Iterator<Item = Value> {
    lines(log, "\"code\"").filter(|line| line["level"] == "ERROR" && line["code"].is_string())
}

/// Returns the failures with this code.
pub fn failures_with(log: &str, code: &str) -> Vec<Value> {
    failures(log).filter(|failure| failure["code"] == code).collect()
}

/// Parses the lines that hold `text`; those that cannot be parsed are not the log's.
fn lines(log: &str, text: &str) -> impl Iterator<Item = Value> {
    log.lines().filter(move |line| line.contains(text)).filter_map(|line| serde_json::from_str(line).ok())
}
