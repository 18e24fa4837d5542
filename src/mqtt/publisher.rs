//! Publishing over a connection while it is up, and waiting for the broker's acknowledgement.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, PublishOptions, QoS};
use tokio::sync::watch;

/// The state of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it is connected and subscribed.
    pub is_up: bool,
    /// How many times it came up.
    pub connections: u64,
    /// How long it was down before it last came up; zero the first time.
    pub down_time: Duration,
}

/// The outcome of publishing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The broker has it: PUBACK at QoS 1, PUBCOMP at QoS 2; at QoS 0, it was written to the socket.
    Received,
    /// The connection ended before that: it has to be published again.
    Lost,
    /// The connection is closed for good.
    Closed,
}

/// Publishes over a connection; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: AsyncClient,
    qos: QoS,
    health: watch::Receiver<Health>,
}

impl Publisher {
    pub(super) fn new(client: AsyncClient, qos: QoS, health: watch::Receiver<Health>) -> Self {
        Self { client, qos, health }
    }

    /// The state of the connection, now and on each change.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Whether the connection is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.health.borrow().is_up
    }

    /// Queues `payload` on `topic`, not retained, and returns the wait for its acknowledgement.
    ///
    /// Waits itself only while [`ConnectionOptions::queue`](super::ConnectionOptions::queue) messages are queued.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> impl Future<Output = Acknowledgement> + Send + 'static {
        let queued = self.client.publish_tracked(topic, payload, PublishOptions::new(self.qos)).await;
        async move {
            let Ok(notice) = queued else { return Acknowledgement::Closed };
            match notice.wait_async().await {
                Ok(_) => Acknowledgement::Received,
                Err(_) => Acknowledgement::Lost,
            }
        }
    }

    /// Queues `payload` on `topic` at QoS 1, to be published when the connection is up. Returns whether the queue had
    /// room.
    pub fn try_publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce).retain(retain)).is_ok()
    }
}
