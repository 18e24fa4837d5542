//! The inbox: reads messages of the broker, and queues them for the service.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::presences::Presences;
use crate::error::Error;
use crate::mqtt::request::{MAX_REQUEST_SIZE, Request};
use crate::mqtt::status::{Presence, Status};
use crate::mqtt::topic::{App, Channel, Channels, Layout, Role};
use crate::mqtt::{Ack, Message};
use crate::service::options::ServiceOptions;
use crate::telemetry::Telemetry;

/// Messages that wait between the connections and the service.
#[doc(alias = "bound")]
const MAX_INBOUND: usize = 4096;
/// Largest status message that is parsed, bytes.
#[doc(alias = "bound")]
const MAX_STATUS_SIZE: usize = 64 << 10;

/// A message from the broker.
pub(super) enum Inbound {
    /// A request; `is_queued` if the broker may have queued it while the proxy was away.
    Request { app: App, is_queued: bool, ack: Ack },
    /// A status message, for a replica.
    Status(App, Box<Status>),
    /// A presence message.
    Presence { instance: String, presence: Presence, is_retained: bool },
}

/// Reads messages, and queues them for the service.
pub(super) struct Inbox {
    channels: Channels,
    is_replica: bool,
    telemetry: Arc<Telemetry>,
    presences: Arc<Presences>,
    inbound: mpsc::Sender<Inbound>,
}

impl Inbox {
    /// An inbox, and what is queued in it.
    pub(super) fn new(
        config: &ServiceOptions,
        telemetry: &Arc<Telemetry>,
        presences: &Arc<Presences>,
    ) -> (Self, mpsc::Receiver<Inbound>) {
        let (inbound, messages) = mpsc::channel(MAX_INBOUND);
        let inbox = Self {
            channels: config.channels.clone(),
            is_replica: config.share_group.is_some(),
            telemetry: Arc::clone(telemetry),
            presences: Arc::clone(presences),
            inbound,
        };
        (inbox, messages)
    }

    /// Takes a message.
    pub(super) fn receive(&self, message: Message<'_>) {
        let Message { topic, payload, is_retained, is_queued, ack } = message;
        let Some((channel, layout, role)) = Channel::of_topic(topic) else { return ack.acknowledge() };
        if !matches!(role, Role::Presence(_)) && !self.channels.contains(&channel) {
            return ack.acknowledge();
        }
        match role {
            // A retained message is what somebody requested at some time, not a request now.
            Role::Request if !is_retained => self.request(channel, layout, &payload, is_queued, ack),
            Role::Status if !is_retained && self.is_replica => {
                ack.acknowledge();
                if let Some(status) = status(&payload) {
                    let app = App { channel: channel.into(), layout, name: status.app_name.as_str().into() };
                    self.queue(Inbound::Status(app, status));
                }
            }
            Role::Presence(instance) => {
                ack.acknowledge();
                let presence = serde_json::from_slice(&payload).ok();
                self.presences.receive(topic, presence.as_ref());
                if let Some(presence) = presence {
                    self.queue(Inbound::Presence { instance: instance.to_owned(), presence, is_retained });
                }
            }
            _ => ack.acknowledge(),
        }
    }

    fn request(&self, channel: Channel, layout: Layout, payload: &[u8], is_queued: bool, ack: Ack) {
        match Request::parse(payload) {
            Ok(Request { app_name }) => {
                let app = App { channel: channel.into(), layout, name: app_name.as_str().into() };
                let request = Inbound::Request { app, is_queued, ack };
                if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) = self.inbound.try_send(request)
                    && let Inbound::Request { app, ack, .. } = request
                {
                    // The broker stops sending when too many are not acknowledged.
                    ack.acknowledge();
                    self.telemetry.rejected(
                        &app,
                        false,
                        &Error::Overloaded { app_name, limit: MAX_INBOUND, what: "messages wait" },
                    );
                }
            }
            Err(error) => {
                ack.acknowledge();
                self.telemetry.unreadable(&channel, layout, &error);
            }
        }
    }

    /// Queues what others say. What does not fit is made up for: by the next message, or by silence.
    fn queue(&self, message: Inbound) {
        if self.inbound.try_send(message).is_err() {
            warn!("more messages arrive than are read: messages of other proxies were dropped");
        }
    }
}

/// Reads a status message, unless it is larger than one that a proxy can publish.
fn status(payload: &Bytes) -> Option<Box<Status>> {
    let status = (payload.len() <= MAX_STATUS_SIZE).then(|| serde_json::from_slice::<Box<Status>>(payload).ok())?;
    status.filter(|status| status.app_name.len() <= MAX_REQUEST_SIZE)
}
