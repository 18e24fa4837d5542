//! That the proxy is online: a retained message on every named channel, and a will.

use bytes::Bytes;

use crate::mqtt::status::Presence;
use crate::mqtt::topic::{Channels, Layout, Role};
use crate::mqtt::{Publisher, Will};
use crate::util::clock::Time;

/// The presence messages of this proxy.
#[derive(Debug)]
pub(super) struct Presences {
    /// The topics, those of the first channel in front.
    topics: Vec<String>,
    since: Time,
    group: Option<String>,
}

impl Presences {
    pub(super) fn new(channels: &Channels, instance: &str, group: Option<String>) -> Self {
        let topics = channels
            .named()
            .flat_map(|channel| Layout::ALL.map(|layout| channel.topic(layout, Role::Presence(instance))));
        Self { topics: topics.collect(), since: Time::of_system(), group }
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
