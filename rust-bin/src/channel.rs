//! The one channel that a command is about.

use clap::ValueEnum;
use propeller_proxy::mqtt::topic::{ANY, Channel, Channels, Layout, is_topic_level};

use crate::exit::USAGE;
use crate::failure::Failure;

/// How the topics of the channel are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topics {
    /// m/{domain}/c/{channel}/registry/…
    #[default]
    Plain,
    /// m/{domain}/c/{channel}/messages/registry/…
    Messages,
}

impl From<Topics> for Layout {
    fn from(topics: Topics) -> Self {
        match topics {
            Topics::Plain => Self::Plain,
            Topics::Messages => Self::Messages,
        }
    }
}

/// The configured channel with this id, or the only one there is.
pub(crate) fn choose(channels: &Channels, id: Option<&str>) -> Result<Channel, Failure> {
    let usage = |message: String, hint: String| Err(Failure::Other(USAGE, message, Some(hint)));
    if channels.domain == ANY {
        return usage("the configuration has every domain".into(), "name one: --domain-id ID".into());
    }
    let of = |id: &str| Channel { domain: channels.domain.clone(), id: id.to_owned() };
    match (id, channels.ids.as_slice()) {
        (Some(id), _) if is_topic_level(id) && channels.contains(&of(id)) => Ok(of(id)),
        (Some(id), _) => usage(
            format!("{id:?} is not one of the configured channels"),
            format!("these are {}; --channel-id names others", channels.ids.join(", ")),
        ),
        (None, [only]) if only != ANY => Ok(of(only)),
        (None, _) => usage("the configuration has several channels".into(), "name one: --channel ID".into()),
    }
}
