//! A message that a subscription brought, and acknowledging it once it is safe to do so (MQTT 3.1.1, section 4.3).

use std::sync::{Arc, Weak};

use bytes::Bytes;
use rumqttc::{AsyncClient, ManualAck, Publish};

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

/// Acknowledges one message, unless the library has done so already. When it is dropped instead, the broker publishes
/// the message again after the next reconnect of a persistent session.
#[derive(Debug, Default)]
pub struct Ack(Option<Pending>);

#[derive(Debug)]
struct Pending {
    client: AsyncClient,
    packet: ManualAck,
    /// Gone when the connection that the message came by is: a packet identifier means nothing on another one (MQTT
    /// 3.1.1, section 2.3.1).
    connection: Weak<()>,
}

impl Ack {
    /// The acknowledgement of `publish`, which came by `connection`. It is empty at QoS 0.
    pub(super) fn of(client: &AsyncClient, publish: &Publish, connection: &Arc<()>) -> Self {
        Self(client.prepare_ack(publish).map(|packet| Pending {
            client: client.clone(),
            packet,
            connection: Arc::downgrade(connection),
        }))
    }

    /// Acknowledges the message, if the connection that it came by is still open.
    pub fn acknowledge(self) {
        if let Some(Pending { client, packet, connection }) = self.0
            && connection.strong_count() > 0
        {
            // Fails if the connection is closed or its queue is full. Then the broker publishes the message again,
            // which does no harm.
            let _ = client.try_manual_ack(packet);
        }
    }
}
