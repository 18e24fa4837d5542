//! Whether the broker accepts this configuration, without a trace at the broker.

use uuid::Uuid;

use super::backoff::Backoff;
use super::connection::Connection;
use super::options::{BrokerOptions, ConnectionOptions};
use super::topic::{Channels, Role};
use crate::error::Error;

/// Connects and subscribes as the service does, and disconnects.
///
/// A running proxy does not notice it: the client identifier differs, the session is clean, and the share group is new,
/// so that no request goes to the check instead.
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
        ConnectionOptions { backoff: Backoff::NONE, ..ConnectionOptions::subscriber("proxy-check", filters) };
    if let Some(instance) = instance_id {
        // The broker may permit identifiers of a certain form only.
        options.client_id = format!("{instance}-check");
    }
    Connection::establish(mqtt, options, |_| ()).await?.close().await;
    Ok(())
}
