//! The topics of wire protocol 1: requests, answers, status and presence.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The layout of a channel's topics; deployments use both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `m/{domain}/c/{channel}/messages/registry/…`
    Messages,
    /// `m/{domain}/c/{channel}/registry/…`
    Plain,
}

impl Layout {
    /// Both layouts.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Plain];
}

/// An MQTT channel of a domain, the pair that names every topic of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Channel {
    /// The domain (in later deployments: tenant) id, one topic level.
    pub domain: String,
    /// The channel id, one topic level.
    pub id: String,
}

/// The role of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// Devices publish requests.
    Request,
    /// The proxy publishes chunks.
    Answer,
    /// The proxy publishes the state of deliveries.
    Status,
    /// The proxy of this instance id publishes whether it is online.
    Presence(&'a str),
}

impl Channel {
    /// The topic of this channel for `role`.
    #[must_use]
    pub fn topic(&self, layout: Layout, role: Role<'_>) -> String {
        let Self { domain, id } = self;
        let messages = match layout {
            Layout::Messages => "messages/",
            Layout::Plain => "",
        };
        let (end, instance) = match role {
            Role::Request => ("proplet", ""),
            Role::Answer => ("server", ""),
            Role::Status => ("status", ""),
            Role::Presence(instance) => ("proxy/", instance),
        };
        format!("m/{domain}/c/{id}/{messages}registry/{end}{instance}")
    }

    /// Parses a topic.
    #[must_use]
    pub fn of_topic(topic: &str) -> Option<(Self, Layout, Role<'_>)> {
        let (domain, rest) = topic.strip_prefix("m/")?.split_once("/c/")?;
        let (id, rest) = rest.split_once('/')?;
        let (layout, end) = match rest.strip_prefix("messages/") {
            Some(rest) => (Layout::Messages, rest.strip_prefix("registry/")?),
            None => (Layout::Plain, rest.strip_prefix("registry/")?),
        };
        let role = match end {
            "proplet" => Role::Request,
            "server" => Role::Answer,
            "status" => Role::Status,
            _ => Role::Presence(end.strip_prefix("proxy/").filter(|instance| is_topic_level(instance))?),
        };
        let is_channel = is_topic_level(domain) && is_topic_level(id);
        is_channel.then(|| (Self { domain: domain.to_owned(), id: id.to_owned() }, layout, role))
    }
}

/// One app on one channel in one layout: there is one transfer of it at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct App {
    /// The channel of the request.
    pub channel: Arc<Channel>,
    /// The layout of the request's topic.
    pub layout: Layout,
    /// The request's `app_name`.
    pub name: Arc<str>,
}

impl App {
    /// The topic of its channel for `role`, in its layout.
    #[must_use]
    pub fn topic(&self, role: Role<'_>) -> String {
        self.channel.topic(self.layout, role)
    }
}

/// The wildcard that matches one topic level (MQTT 3.1.1, section 4.7.1.3).
pub const ANY: &str = "+";

/// The channels that are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// The domain, or [`ANY`].
    pub domain: String,
    /// The channel ids, at least one; or [`ANY`].
    pub ids: Vec<String>,
}

impl Channels {
    /// The topic filters of `role` in both layouts (MQTT 3.1.1, section 4.7).
    #[must_use]
    pub fn filters(&self, role: Role<'_>) -> Vec<String> {
        let topics = |id: &String| {
            let channel = Channel { domain: self.domain.clone(), id: id.clone() };
            Layout::ALL.map(|layout| channel.topic(layout, role))
        };
        self.ids.iter().flat_map(topics).collect()
    }

    /// Whether `channel` is one of them.
    #[must_use]
    pub fn contains(&self, channel: &Channel) -> bool {
        let is = |filter: &str, level: &str| filter == ANY || filter == level;
        is(&self.domain, &channel.domain) && self.ids.iter().any(|id| is(id, &channel.id))
    }

    /// The channels, if none is a wildcard.
    pub fn named(&self) -> impl Iterator<Item = Channel> {
        let ids = self.ids.iter().filter(|id| self.domain != ANY && **id != ANY);
        ids.map(|id| Channel { domain: self.domain.clone(), id: id.clone() })
    }
}

/// Whether `id` can stand as one level of a topic: not empty, none of `/ + #`, no control character
/// (MQTT 3.1.1, sections 1.5.3 and 4.7.1).
#[must_use]
pub fn is_topic_level(id: &str) -> bool {
    !id.is_empty() && !id.contains(['/', '+', '#']) && !id.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_written_and_read_back() {
        let channel = Channel { domain: "d".into(), id: "c".into() };
        for (layout, role, topic) in [
            (Layout::Messages, Role::Request, "m/d/c/c/messages/registry/proplet"),
            (Layout::Messages, Role::Answer, "m/d/c/c/messages/registry/server"),
            (Layout::Plain, Role::Request, "m/d/c/c/registry/proplet"),
            (Layout::Plain, Role::Answer, "m/d/c/c/registry/server"),
            (Layout::Plain, Role::Status, "m/d/c/c/registry/status"),
            (Layout::Messages, Role::Presence("a"), "m/d/c/c/messages/registry/proxy/a"),
        ] {
            assert_eq!(channel.topic(layout, role), topic);
            assert_eq!(Channel::of_topic(topic), Some((channel.clone(), layout, role)));
        }
        for topic in [
            "m/d/c/registry/proplet",
            "m/d/c/c/registry/other",
            "m//c/c/registry/status",
            "x",
            "m/d/c/c/registry/proxy/",
        ] {
            assert_eq!(Channel::of_topic(topic), None, "{topic}");
        }
    }

    #[test]
    fn channels_are_listed_or_any() {
        let channel = |domain: &str, id: &str| Channel { domain: domain.into(), id: id.into() };
        let listed = Channels { domain: "d".into(), ids: vec!["a".into(), "b".into()] };
        assert!(
            listed.contains(&channel("d", "b"))
                && !listed.contains(&channel("d", "c"))
                && !listed.contains(&channel("e", "a"))
        );
        assert_eq!(listed.filters(Role::Request).len(), 4);
        assert_eq!(listed.named().count(), 2);
        let any = Channels { domain: ANY.into(), ids: vec![ANY.into()] };
        assert!(any.contains(&channel("e", "c")));
        assert_eq!(any.filters(Role::Status)[1], "m/+/c/+/registry/status");
        assert_eq!(any.named().count(), 0);
    }

    #[test]
    fn a_topic_level_has_no_separator_wildcard_or_control_character() {
        assert!(is_topic_level("5a9f 2b-ü"));
        for id in ["", "a/b", "+", "a#", "a\0", "a\n", "\u{85}"] {
            assert!(!is_topic_level(id), "{id:?}");
        }
    }
}
