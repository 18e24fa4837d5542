//! A status message as `watch` shows it.

use propeller_proxy::mqtt::status::{DeliveryState, Status};
use propeller_proxy::mqtt::topic::{Channel, Layout};
use serde::Serialize;

use crate::output::chunks;
use crate::terminal::printable;

/// A status message, and the topic that it came from.
#[derive(Debug, Serialize)]
pub(super) struct Update {
    pub(super) domain_id: String,
    pub(super) channel_id: String,
    pub(super) layout: Layout,
    #[serde(flatten)]
    pub(super) status: Status,
}

impl Update {
    pub(super) fn read(topic: &str, payload: &[u8]) -> Option<Self> {
        let (Channel { domain, id }, layout, _) = Channel::of_topic(topic)?;
        let status = serde_json::from_slice(payload).ok()?;
        Some(Self { domain_id: domain, channel_id: id, layout, status })
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Status { app_name, time, .. } = &self.status;
        printable(&format!("{time} {} {app_name} {}", self.channel_id, self.state()))
    }

    fn state(&self) -> String {
        let Status { state, digest, size, total_chunks, sent_chunks, error, .. } = &self.status;
        let word = state_name(*state);
        match (error, digest.zip(*size).zip(*total_chunks)) {
            (Some(error), _) => format!("{word}: {} ({})", error.message, error.code),
            // Late joiners get some again.
            (None, Some(((digest, size), total))) if *state == DeliveryState::Sent => {
                format!("{word} {} in {sent_chunks} messages, {digest}, {size} bytes", chunks(total))
            }
            (None, Some(((digest, size), total))) => {
                format!("{word} {sent_chunks} of {}, {digest}, {size} bytes", chunks(total))
            }
            (None, None) => word.into(),
        }
    }
}

pub(super) fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Fetching => "fetching",
        DeliveryState::Sending => "sending",
        DeliveryState::Sent => "sent",
        DeliveryState::Failed => "failed",
        DeliveryState::Objected => "objected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_line_without_control_characters() {
        let payload =
            br#"{"app_name": "a\u001b[2J\u009b", "state": "failed", "sent_chunks": 0, "instance": "i", "time": "now\n",
            "error": {"code": "x\u0007", "message": "no\r\nnews"}}"#;
        let update = Update::read("m/d/c/c/registry/status", payload).unwrap();
        assert_eq!(update.line(), "now  c a [2J  failed: no  news (x )");
        assert!(Update::read("m/d/c/c/registry/status", b"{}").is_none());
    }
}
