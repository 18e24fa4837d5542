//! Which proxies serve a channel, by their retained presence messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::connection::Connection;
use super::message::Message;
use super::options::{BrokerOptions, ConnectionOptions};
use super::status::Presence;
use super::topic::{Channel, Channels, Role};
use crate::error::Error;
use crate::util::sync::lock;

/// How long retained presence messages may take: the broker sends them right after SUBACK.
#[doc(alias = "bound")]
const GRACE: Duration = Duration::from_millis(500);

/// Reads from the broker which proxies are online on `channel`, in either layout; returns their instance ids. No proxy
/// notices it.
///
/// A proxy that serves all channels, [`super::topic::ANY`], publishes no presence and is not among them.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`] if the broker does not permit to read presence messages,
/// [`Error::BrokerUntrusted`], [`Error::Setup`].
pub async fn query(mqtt: &BrokerOptions, channel: &Channel) -> Result<BTreeSet<String>, Error> {
    let channels = Channels { domain: channel.domain.clone(), ids: vec![channel.id.clone()] };
    let received = Arc::<Mutex<BTreeMap<String, bool>>>::default();
    let presences = Arc::clone(&received);
    let subscriber = ConnectionOptions::new("proxy-presence", channels.filters(Role::Presence("+")));
    let connection = Connection::establish(mqtt, subscriber, move |Message { topic, payload, .. }: Message<'_>| {
        if let Ok(Presence { online, .. }) = serde_json::from_slice(&payload) {
            lock(&received).insert(topic.to_owned(), online);
        }
    })
    .await?;
    tokio::time::sleep(GRACE).await;
    connection.close().await;
    let presences = lock(&presences);
    let online = presences.iter().filter(|(_, is_online)| **is_online).filter_map(|(topic, _)| instance(topic));
    Ok(online.collect())
}

fn instance(topic: &str) -> Option<String> {
    match Channel::of_topic(topic)? {
        (_, _, Role::Presence(instance)) => Some(instance.to_owned()),
        _ => None,
    }
}
