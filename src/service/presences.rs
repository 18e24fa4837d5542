//! That the proxy is online: a retained message on every named channel, and a will.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use tracing::{error, info};

use crate::mqtt::status::Presence;
use crate::mqtt::topic::{Channels, Layout, Role};
use crate::mqtt::{Publisher, Will};
use crate::util::clock::Time;
use crate::util::sync::lock;

/// The presence messages of this proxy.
#[derive(Debug)]
pub(super) struct Presences {
    /// The topics, those of the first channel in front.
    topics: Vec<String>,
    since: Time,
    group: Option<String>,
    /// Of the topics, those on which a message of another client contradicts.
    contradicted: Mutex<BTreeSet<String>>,
    /// Whether another client said that it is this proxy.
    has_double: AtomicBool,
}

impl Presences {
    pub(super) fn new(channels: &Channels, instance: &str, group: Option<String>) -> Self {
        let topics = channels
            .named()
            .flat_map(|channel| Layout::ALL.map(|layout| channel.topic(layout, Role::Presence(instance))));
        Self {
            topics: topics.collect(),
            since: Time::of_system(),
            group,
            contradicted: Mutex::default(),
            has_double: AtomicBool::new(false),
        }
    }

    /// A connection has one will (MQTT 3.1.1, section 3.1.2.5), so each connection has that of one layout of the first
    /// channel.
    pub(super) fn will(&self, layout: Layout) -> Option<Will> {
        let index = Layout::ALL.iter().position(|one| *one == layout)?;
        let topic = self.topics.get(index)?.clone();
        Some(Will { topic, payload: self.message(false) })
    }

    /// Publishes whether the proxy is online. If there is no room, so much waits for the broker that it does not matter.
    pub(super) fn announce(&self, publisher: &Publisher, is_online: bool) {
        for topic in &self.topics {
            publisher.try_publish(topic, self.message(is_online), true);
        }
    }

    /// Takes a message on a presence topic; `None` if it is unreadable. One that says of this proxy that it is offline, or of
    /// another group, is somebody else's, or the will of a connection that was made anew. One that says that it has come online at
    /// another time is that of a second proxy of this name, which is told once.
    pub(super) fn receive(&self, topic: &str, presence: Option<&Presence>, is_old: bool) {
        if self.topics.iter().all(|own| own != topic) {
            return;
        }
        let right = presence.filter(|presence| presence.online && presence.group == self.group);
        if right.is_none() {
            lock(&self.contradicted).insert(topic.to_owned());
        }
        // What is retained, or was queued, may be of an earlier process.
        let is_double = !is_old && right.is_some_and(|presence| presence.since != self.since.to_string());
        if is_double && !self.has_double.swap(true, Relaxed) {
            error!(
                event = "instance-id-shared",
                topic,
                "another client says that it is this proxy; give each proxy a PROXY_INSTANCE_ID and a PROXY_STATE_DIR of its own"
            );
        }
    }

    /// Publishes again that the proxy is online, where a message contradicted.
    pub(super) fn correct(&self, publisher: &Publisher) {
        for topic in std::mem::take(&mut *lock(&self.contradicted)) {
            info!(event = "presence-corrected", topic, "a message on the presence topic of this proxy contradicted");
            if !publisher.try_publish(&topic, self.message(true), true) {
                lock(&self.contradicted).insert(topic);
            }
        }
    }

    /// Deletes what is retained: an empty message does (MQTT 3.1.1, section 3.3.1.3).
    pub(super) fn delete(&self, publisher: &Publisher) {
        for topic in &self.topics {
            publisher.try_publish(topic, Bytes::new(), true);
        }
    }

    fn message(&self, is_online: bool) -> Bytes {
        Presence::message(is_online, self.since, self.group.clone()).into()
    }
}
