//! Acknowledging what arrived, when it is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumqttc::{AsyncClient, ManualAck};

/// Acknowledges a message (MQTT 3.1.1, section 4.3), if that is not done already. If it is dropped instead, the broker sends
/// the message again after the next reconnect.
#[derive(Debug, Default)]
pub struct Ack(pub(super) Option<Pending>);

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) client: AsyncClient,
    pub(super) acknowledgement: ManualAck,
    pub(super) connection: u64,
    pub(super) current: Arc<AtomicU64>,
}

impl Ack {
    /// Acknowledges the message, if the connection it came by is still there.
    pub fn confirm(self) {
        if let Some(Pending { client, acknowledgement, connection, current }) = self.0
            && current.load(Ordering::Acquire) == connection
        {
            // Fails if the link is closed or its queue full; then the message comes again, which does no harm.
            let _ = client.try_manual_ack(acknowledgement);
        }
    }
}
