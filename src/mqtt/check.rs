//! Whether the broker accepts this configuration, without a trace at the broker.

use super::backoff::Backoff;
use super::connection::Connection;
use super::options::{BrokerOptions, ConnectionOptions};
use super::topic::{Channels, Role};
use crate::error::Error;

/// Connects and subscribes as the service does, and disconnects.
///
/// A running proxy does not notice it: the client identifier differs, and the session is clean.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
pub async fn check(
    mqtt: &BrokerOptions,
    channels: &Channels,
    instance_id: Option<&str>,
    has_exact_client_id: bool,
    is_replica: bool,
) -> Result<(), Error> {
    let mut filters = channels.filters(Role::Request);
    if is_replica {
        filters.extend(channels.filters(Role::Status));
    }
    // The broker may permit identifiers of a certain form only.
    let options = ConnectionOptions::new(instance_id.unwrap_or("proxy-check"), filters);
    let mut options = ConnectionOptions { backoff: Backoff::NONE, ..options };
    if let Some(instance) = instance_id.filter(|_| has_exact_client_id) {
        options.client_id = format!("{instance}-check");
    }
    Connection::establish(mqtt, options, |_| ()).await?.close().await;
    Ok(())
}
