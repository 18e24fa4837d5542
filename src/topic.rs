//! The topics of wire protocol 1: where devices ask and where they are answered.

/// How the topics of a channel are laid out; both are in the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The domain (in later deployments: tenant) id, one topic level.
    pub domain: String,
    /// The channel id, one topic level.
    pub id: String,
}

impl Channel {
    /// The topic on which devices ask.
    #[must_use]
    pub fn request_topic(&self, layout: Layout) -> String {
        self.topic(layout, "proplet")
    }

    /// The topic on which devices are answered.
    #[must_use]
    pub fn answer_topic(&self, layout: Layout) -> String {
        self.topic(layout, "server")
    }

    /// The layout in which `topic` is a request topic of this channel.
    #[must_use]
    pub fn layout_of_request(&self, topic: &str) -> Option<Layout> {
        Layout::ALL.into_iter().find(|&layout| self.request_topic(layout) == topic)
    }

    fn topic(&self, layout: Layout, end: &str) -> String {
        let Self { domain, id } = self;
        match layout {
            Layout::Messages => format!("m/{domain}/c/{id}/messages/registry/{end}"),
            Layout::Plain => format!("m/{domain}/c/{id}/registry/{end}"),
        }
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
    fn a_request_is_answered_in_its_own_layout() {
        let channel = Channel { domain: "d".into(), id: "c".into() };
        for (layout, request, answer) in [
            (Layout::Messages, "m/d/c/c/messages/registry/proplet", "m/d/c/c/messages/registry/server"),
            (Layout::Plain, "m/d/c/c/registry/proplet", "m/d/c/c/registry/server"),
        ] {
            assert_eq!(channel.layout_of_request(request), Some(layout));
            assert_eq!(channel.answer_topic(layout), answer);
        }
        assert_eq!(channel.layout_of_request("m/d/c/other/registry/proplet"), None);
    }

    #[test]
    fn a_topic_level_has_no_separator_wildcard_or_control_character() {
        assert!(is_topic_level("5a9f 2b-ü"));
        for id in ["", "a/b", "+", "a#", "a\0", "a\n", "\u{85}"] {
            assert!(!is_topic_level(id), "{id:?}");
        }
    }
}
