//! Acknowledging a message once it is safe to do so (MQTT 3.1.1, section 4.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumqttc::{AsyncClient, ManualAck, Publish};

/// Acknowledges one message, unless the library has done so already. When it is dropped instead, the broker publishes
/// the message again after the next reconnect of a persistent session.
#[derive(Debug, Default)]
pub struct Ack(Option<Pending>);

#[derive(Debug)]
struct Pending {
    client: AsyncClient,
    packet: ManualAck,
    connection: u64,
    current: ConnectionCount,
}

/// Counts the connections of a client: a packet identifier means something only on the connection that it came by
/// (MQTT 3.1.1, section 2.3.1).
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionCount(Arc<AtomicU64>);

impl ConnectionCount {
    /// Invalidates every [`Ack`] so far.
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Ack {
    /// The acknowledgement of `publish`, which came by the current connection. It is empty at QoS 0.
    pub(super) fn of(client: &AsyncClient, publish: &Publish, current: &ConnectionCount) -> Self {
        Self(client.prepare_ack(publish).map(|packet| Pending {
            client: client.clone(),
            packet,
            connection: current.get(),
            current: current.clone(),
        }))
    }

    /// Acknowledges the message, if the connection that it came by is still open.
    pub fn acknowledge(self) {
        if let Some(Pending { client, packet, connection, current }) = self.0
            && current.get() == connection
        {
            // Fails if the connection is closed or its queue is full. Then the broker publishes the message again,
            // which does no harm.
            let _ = client.try_manual_ack(packet);
        }
    }
}
