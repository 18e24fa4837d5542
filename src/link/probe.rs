//! Whether the broker takes us, found out without disturbing anybody.

use uuid::Uuid;

use super::{Link, LinkOptions, Message, Retries};
use crate::config::{Config, MqttConfig};
use crate::error::Error;
use crate::topic::Role;

impl Link {
    /// As [`Link::open`], and returns when the link is connected and subscribed.
    ///
    /// # Errors
    /// [`Error::BrokerUnreachable`] if it is not within the time that connecting may take, or at the first failure with
    /// [`Retries::NONE`]; [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
    pub async fn established(
        mqtt: &MqttConfig,
        options: LinkOptions,
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

/// Connects and subscribes as the service of `config` does, and leaves again.
///
/// A proxy that runs notices nothing of it: the identifier is another one, the session ends with the connection, and no
/// request is taken from anybody, since a share group of its own is tried.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
pub async fn check(config: &Config) -> Result<(), Error> {
    let Config { mqtt, channels, instance_id, share_group, .. } = config;
    let mut filters = channels.filters(Role::Request);
    if share_group.is_some() {
        let group = Uuid::new_v4();
        let shared: Vec<_> = filters.iter().map(|filter| format!("$share/proxy-check-{group}/{filter}")).collect();
        filters.extend(shared);
        filters.extend(channels.filters(Role::Status));
    }
    let mut options = LinkOptions { retries: Retries::NONE, ..LinkOptions::listening("proxy-check", filters) };
    if let Some(instance) = instance_id {
        // A broker may take certain identifiers only.
        options.client_id = format!("{instance}-check");
    }
    Link::established(mqtt, options, |_| ()).await?.close().await;
    Ok(())
}
