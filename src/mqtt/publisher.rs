//! Publishing, and what the broker says to it.

use bytes::Bytes;
use rumqttc::{AsyncClient, PublishOptions, QoS};
use tokio::sync::watch;

use super::Health;

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The broker has it (QoS 0: it is written).
    Received,
    /// The connection ended before that; it has to be published again.
    Lost,
    /// The link is closed.
    Closed,
}

/// Publishes over a link; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(super) client: AsyncClient,
    pub(super) qos: QoS,
    pub(super) health: watch::Receiver<Health>,
}

impl Publisher {
    /// Waits until the link is up. What is published before would stand in the way of its subscription.
    pub async fn ready(&self) {
        // The other end is gone when the link is closed, which publishing tells.
        let _ = self.health.clone().wait_for(|health| health.is_up).await;
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

    /// Queues `payload` on `topic` at QoS 1, to be sent when the link is up. Returns whether there was room.
    pub fn post(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce).retain(retain)).is_ok()
    }
}
