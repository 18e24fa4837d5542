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
    /// The broker has it: PUBACK at QoS 1, PUBCOMP at QoS 2; at QoS 0, the UNSUBACK to an UNSUBSCRIBE that followed it.
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
        let barrier = (self.qos == QoS::AtMostOnce).then(|| self.barrier(topic));
        let queued = self.client.publish_tracked(topic, payload, PublishOptions::new(self.qos)).await;
        async move {
            let Ok(notice) = queued else { return Acknowledgement::Closed };
            match (notice.wait_async().await, barrier) {
                (Ok(_), None) => Acknowledgement::Received,
                (Ok(_), Some(barrier)) => barrier.await,
                (Err(_), _) => Acknowledgement::Lost,
            }
        }
    }

    /// Waits until the broker has read what was written before on the present connection. MQTT 3.1.1 has no acknowledgement
    /// of QoS 0; but the broker answers an UNSUBSCRIBE, of whatever filter (section 3.10.4), behind the packets before it.
    fn barrier(&self, topic: &str) -> impl Future<Output = Acknowledgement> + Send + use<> {
        let (client, topic, health) = (self.client.clone(), topic.to_owned(), self.health.clone());
        let connections = health.borrow().connections;
        let is_here = move |health: &Health| health.is_up && health.connections == connections;
        async move {
            let read = async {
                let Ok(notice) = client.unsubscribe_tracked(topic).await else { return Acknowledgement::Closed };
                // On a later connection it says nothing of this one.
                let is_read = notice.wait_async().await.is_ok() && is_here(&health.borrow());
                if is_read { Acknowledgement::Received } else { Acknowledgement::Lost }
            };
            let mut lost = health.clone();
            tokio::select! {
                biased;
                _ = lost.wait_for(|health| !is_here(health)) => Acknowledgement::Lost,
                acknowledgement = read => acknowledgement,
            }
        }
    }

    /// Queues `payload` on `topic` at QoS 1, to be published when the connection is up. Returns whether the queue had
    /// room.
    pub fn try_publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce).retain(retain)).is_ok()
    }
}
