//! `propeller-proxy watch`: what becomes of requests, as proxies tell it on the status topics.

mod live;

use clap::Args;
use propeller_proxy::config::LogLevel;
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::status::{State, Status};
use propeller_proxy::mqtt::topic::{Channel, Channels, Layout, Role};
use propeller_proxy::mqtt::{BrokerOptions, Connection, ConnectionOptions};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use self::live::Live;
use crate::exit::{self, Failure};
use crate::operation::LogFormat;
use crate::output::{self, Format, chunks, printable};
use crate::settings::Flags;
use crate::verbosity::Verbosity;
use crate::{logging, shutdown};

const EXAMPLES: &[&str] = &[
    "propeller-proxy watch",
    "propeller-proxy watch --channel-id + --format json | jq 'select(.state == \"failed\")'",
    "propeller-proxy watch | grep add:1.0",
];

/// Messages that may wait to be shown; further ones are left out.
const QUEUE: usize = 4096;

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_SERVICE))]
pub(crate) struct Options {
    /// How to print: on a terminal, text is a table of what is under way
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<(BrokerOptions, Channels)>,
}

/// What a proxy tells, and where.
#[derive(Debug, Serialize)]
struct Told {
    domain_id: String,
    channel_id: String,
    layout: Layout,
    #[serde(flatten)]
    status: Status,
}

/// Where it is shown.
enum View {
    Live(Live),
    Lines(Format),
}

impl View {
    fn show(&mut self, told: &Told) -> Result<(), Failure> {
        match self {
            Self::Live(live) => block_in_place(|| live.show(told)),
            Self::Lines(Format::Text) => output::print_line(&told.line()),
            Self::Lines(Format::Json) => output::print_line(&output::json_line(told)),
        }
    }

    /// Says something that is not data.
    fn say(&self, words: &str, verbosity: Verbosity) {
        match self {
            Self::Live(live) => live.say(words),
            Self::Lines(_) => verbosity.say(words),
        }
    }
}

impl Told {
    fn read(topic: &str, payload: &[u8]) -> Option<Self> {
        let (Channel { domain, id }, layout, _) = Channel::of_topic(topic)?;
        let status = serde_json::from_slice(payload).ok()?;
        Some(Self { domain_id: domain, channel_id: id, layout, status })
    }

    /// One line for people.
    fn line(&self) -> String {
        let Status { app_name, time, .. } = &self.status;
        printable(&format!("{time} {} {app_name} {}", self.channel_id, self.state()))
    }

    fn state(&self) -> String {
        let Status { state, digest, size, total_chunks, sent_chunks, error, .. } = &self.status;
        let word = state_name(*state);
        match (error, digest.zip(*size).zip(*total_chunks)) {
            (Some(error), _) => format!("{word}: {} ({})", error.message, error.code),
            // Late joiners get some again.
            (None, Some(((digest, size), total))) if *state == State::Sent => {
                format!("{word} {} in {sent_chunks} messages, {digest}, {size} bytes", chunks(total))
            }
            (None, Some(((digest, size), total))) => {
                format!("{word} {sent_chunks} of {}, {digest}, {size} bytes", chunks(total))
            }
            (None, None) => word.into(),
        }
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Fetching => "fetching",
        State::Sending => "sending",
        State::Sent => "sent",
        State::Failed => "failed",
    }
}

/// Being interrupted is how it ends.
pub(crate) async fn run(options: Options) -> u8 {
    match shutdown::interruptible(|stop| watch(options, stop)).await {
        exit::INTERRUPTED | exit::TERMINATED => exit::SUCCESS,
        status => status,
    }
}

async fn watch(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    let Options { format, verbosity, settings } = options;
    let live = Some(Live::new()).filter(|live| format == Format::Text && live.is_seen());
    // The table tells itself when the broker is away; lines of the log would go through it.
    logging::start(
        verbosity.level(if live.is_some() { LogLevel::Error } else { LogLevel::Warn }),
        LogFormat::Pretty,
        None,
    );
    let (mqtt, channels) = settings.load()?;
    let mut view = live.map_or(View::Lines(format), View::Live);

    let (heard, mut waiting) = mpsc::channel(QUEUE);
    let listening = ConnectionOptions::listening("proxy-watch", channels.filters(Role::Status));
    let mut link = Connection::open(&mqtt, listening, move |message| {
        if let Some(told) = Told::read(message.topic, &message.payload)
            && let Err(TrySendError::Full(_)) = heard.try_send(told)
        {
            tracing::warn!("more is told than can be shown: something was left out");
        }
    })?;
    let mut health = link.health();
    let unreachable = tokio::time::sleep(mqtt.timeout);
    let mut unreachable = std::pin::pin!(unreachable);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            end = link.ended() => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
            () = &mut unreachable, if health.borrow().connections == 0 => {
                return Err(Error::no_broker_within(&mqtt.address, mqtt.timeout).into());
            }
            Ok(()) = health.changed() => {
                let is_up = health.borrow_and_update().is_up;
                let words = if is_up { "watching" } else { "lost" };
                view.say(&format!("{words} {}", mqtt.address), verbosity);
            }
            Some(told) = waiting.recv() => view.show(&told)?,
        }
    }
    link.close().await;
    Ok(exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_line_without_control_characters() {
        let payload =
            br#"{"app_name": "a\u001b[2J\u009b", "state": "failed", "sent_chunks": 0, "instance": "i", "time": "now\n",
            "error": {"code": "x\u0007", "message": "no\r\nnews"}}"#;
        let told = Told::read("m/d/c/c/registry/status", payload).unwrap();
        assert_eq!(told.line(), "now  c a [2J  failed: no  news (x )");
        assert!(Told::read("m/d/c/c/registry/status", b"{}").is_none());
    }
}
