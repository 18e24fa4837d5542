//! Whether the broker takes us, found out without disturbing anybody.

use super::{Link, LinkOptions, Retries};
use crate::config::MqttConfig;
use crate::error::Error;
use crate::topic::{Channels, Role};

/// Connects and subscribes to the requests of `channels`, as the service does, and leaves again.
///
/// A proxy that runs notices nothing of it: the identifier is another one, the session ends with the connection, and no
/// request is taken from anybody.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`], [`Error::Setup`].
pub async fn check(mqtt: &MqttConfig, channels: &Channels) -> Result<(), Error> {
    let listening = LinkOptions::listening("proxy-check", channels.filters(Role::Request));
    let mut link = Link::open(mqtt, LinkOptions { retries: Retries::NONE, ..listening }, |_| ())?;
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
    link.close().await;
    Ok(())
}
