//! A message that a subscription brought.

use bytes::Bytes;

use super::ack::Ack;

/// A message as it arrives.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: Bytes,
    /// Whether it is the topic's retained message, published before the subscription (MQTT 3.1.1, section 3.3.1.3).
    pub is_retained: bool,
    /// Whether the broker may have queued it in the persistent session while the connection was down.
    pub is_queued: bool,
    /// What acknowledges it.
    pub ack: Ack,
}
