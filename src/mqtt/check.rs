//! Whether the broker takes us, found out without disturbing anybody.

use uuid::Uuid;

use super::topic::{Channels, Role};
use super::{Backoff, BrokerOptions, Connection, ConnectionOptions, Message};
use crate::error::Error;

impl Connection {
    /// As [`Connection::open`], and returns when the link is connected and subscribed.
    ///
    /// # Errors
    /// [`Error::BrokerUnreachable`] if it is not within the time that connecting may take, or at the first failure with
    /// [`Backoff::NONE`]; [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
    pub async fn established(
        mqtt: &BrokerOptions,
        options: ConnectionOptions,
        on_message: impl FnMut(Message<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        let mut link = Self::open(mqtt, options, on_message)?;
        let mut health = link.health();
        let up = async {
            tokio::select! {
                end = link.ended() => end,
                // It fails when the link has ended, which says why.
                Ok(_) = health.wait_for(|health| health.is_up) => Ok(()),
            }
        };
        let up = tokio::time::timeout(mqtt.timeout, up).await;
        up.unwrap_or_else(|_| Err(Error::no_broker_within(&mqtt.address, mqtt.timeout)))?;
        Ok(link)
    }
}

/// Connects and subscribes as the service does, and leaves again.
///
/// A proxy that runs notices nothing of it: the identifier is another one, the session ends with the connection, and no
/// request is taken from anybody, since a share group of its own is tried.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
pub async fn check(
    mqtt: &BrokerOptions,
    channels: &Channels,
    instance_id: Option<&str>,
    is_replica: bool,
) -> Result<(), Error> {
    let mut filters = channels.filters(Role::Request);
    if is_replica {
        let group = Uuid::new_v4();
        let shared: Vec<_> = filters.iter().map(|filter| format!("$share/proxy-check-{group}/{filter}")).collect();
        filters.extend(shared);
        filters.extend(channels.filters(Role::Status));
    }
    let mut options =
        ConnectionOptions { retries: Backoff::NONE, ..ConnectionOptions::listening("proxy-check", filters) };
    if let Some(instance) = instance_id {
        // A broker may take certain identifiers only.
        options.client_id = format!("{instance}-check");
    }
    Connection::established(mqtt, options, |_| ()).await?.close().await;
    Ok(())
}
