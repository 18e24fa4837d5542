//! `propeller-proxy watch`: the progress and outcome of requests, as proxies publish it on the status topics.

mod live;
mod update;

use clap::Args;
use propeller_proxy::config::LogLevel;
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::topic::{Channels, Role};
use propeller_proxy::mqtt::{BrokerOptions, Connection, ConnectionOptions};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use self::live::Live;
use self::update::Update;
use crate::failure::Failure;
use crate::operation::LogFormat;
use crate::output::{self, Format};
use crate::settings::Flags;
use crate::verbosity::Verbosity;
use crate::{exit, logging, shutdown};

const EXAMPLES: &[&str] = &[
    "propeller-proxy watch",
    "propeller-proxy watch --channel-id + --format json | jq 'select(.state == \"failed\")'",
    "propeller-proxy watch | grep add:1.0",
];

/// Messages that wait to be shown; further ones are dropped.
#[doc(alias = "bound")]
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

/// Where updates are shown.
enum View {
    Live(Live),
    Lines(Format),
}

impl View {
    fn show(&mut self, update: &Update) -> Result<(), Failure> {
        match self {
            Self::Live(live) => block_in_place(|| live.show(update)),
            Self::Lines(Format::Text) => output::print_line(&update.line()),
            Self::Lines(Format::Json) => output::print_line(&output::json_line(update)),
        }
    }

    /// Prints a message that is not data.
    fn print_message(&self, message: &str, verbosity: Verbosity) {
        match self {
            Self::Live(live) => live.print_message(message),
            Self::Lines(_) => verbosity.print_message(message),
        }
    }
}

/// A signal is the usual way to end it.
pub(crate) async fn run(options: Options) -> u8 {
    match shutdown::interruptible(|stop| watch(options, stop)).await {
        exit::INTERRUPTED | exit::TERMINATED => exit::SUCCESS,
        status => status,
    }
}

async fn watch(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    let Options { format, verbosity, settings } = options;
    let live = Some(Live::new()).filter(|live| format == Format::Text && live.is_visible());
    // The table shows by itself when the broker is away; lines of the log would break it.
    logging::start(
        verbosity.level(if live.is_some() { LogLevel::ERROR } else { LogLevel::WARN }),
        LogFormat::Pretty,
        None,
    );
    let (mqtt, channels) = settings.load()?;
    let mut view = live.map_or(View::Lines(format), View::Live);

    let (sender, mut updates) = mpsc::channel(QUEUE);
    let listening = ConnectionOptions::new("proxy-watch", channels.filters(Role::Status));
    let mut link = Connection::open(&mqtt, listening, move |message| {
        if let Some(update) = Update::read(message.topic, &message.payload)
            && let Err(TrySendError::Full(_)) = sender.try_send(update)
        {
            tracing::warn!("a status message was dropped: too many wait to be shown");
        }
    })?;
    let mut health = link.health();
    let mut deadline = std::pin::pin!(tokio::time::sleep(mqtt.timeout));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            end = link.ended() => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
            () = &mut deadline, if health.borrow().connections == 0 => {
                return Err(Error::no_broker_within(&mqtt.address, mqtt.timeout).into());
            }
            Ok(()) = health.changed() => {
                let is_up = health.borrow_and_update().is_up;
                let words = if is_up { "watching" } else { "lost" };
                view.print_message(&format!("{words} {}", mqtt.address), verbosity);
            }
            Some(update) = updates.recv() => view.show(&update)?,
        }
    }
    link.close().await;
    Ok(exit::SUCCESS)
}
