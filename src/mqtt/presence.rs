//! Which proxies are there, as they told the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::status::Presence;
use crate::error::Error;
use crate::mqtt::BrokerOptions;
use crate::mqtt::topic::{Channel, Channels, Role};
use crate::mqtt::{Connection, ConnectionOptions, Message};
use crate::util::sync::lock;

/// How long the messages may take that the broker has kept: it sends them right after it granted the subscription.
const GRACE: Duration = Duration::from_millis(500);

/// The proxies of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presences {
    /// The instance ids of those that are there.
    pub online: BTreeSet<String>,
    /// Whether there is or was any.
    pub any: bool,
}

/// Asks the broker which proxies are on `channel`, in either layout. It disturbs none of them.
///
/// One that serves all channels, [`crate::mqtt::topic::ANY`], tells nobody that it is there, and is not found.
///
/// # Errors
/// [`Error::BrokerUnreachable`], [`Error::BrokerRefused`] if the presence messages must not be read,
/// [`Error::BrokerUntrusted`], [`Error::Setup`].
pub async fn presences(mqtt: &BrokerOptions, channel: &Channel) -> Result<Presences, Error> {
    let channels = Channels { domain: channel.domain.clone(), ids: vec![channel.id.clone()] };
    let told = Arc::<Mutex<BTreeMap<String, bool>>>::default();
    let telling = Arc::clone(&told);
    let listening = ConnectionOptions::listening("proxy-presence", channels.filters(Role::Presence("+")));
    let link = Connection::established(mqtt, listening, move |Message { topic, payload, .. }: Message<'_>| {
        if let Ok(Presence { online, .. }) = serde_json::from_slice(&payload) {
            lock(&telling).insert(topic.to_owned(), online);
        }
    })
    .await?;
    tokio::time::sleep(GRACE).await;
    link.close().await;
    let told = lock(&told);
    let online = told.iter().filter(|(_, is_online)| **is_online).filter_map(|(topic, _)| instance(topic));
    Ok(Presences { online: online.collect(), any: !told.is_empty() })
}

fn instance(topic: &str) -> Option<String> {
    match Channel::of_topic(topic)? {
        (_, _, Role::Presence(instance)) => Some(instance.to_owned()),
        _ => None,
    }
}
