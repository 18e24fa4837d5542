//! `propeller-proxy deliver`: sends modules now, without being asked by devices.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use propeller_proxy::config::Config;
use propeller_proxy::error::Error;
use propeller_proxy::journal::Report;
use propeller_proxy::service::Service;
use propeller_proxy::topic::{App, Channel};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::{self, Topics};
use crate::exit::{self, Failure};
use crate::output::{self, Format, chunks, printable};
use crate::progress;
use crate::settings::{All, Flags};
use crate::shutdown::unless_stopped;
use crate::verbosity::Verbosity;

const EXAMPLES: &[&str] = &[
    "propeller-proxy deliver localhost:5000/add:1.0",
    "propeller-proxy deliver add:1.0 sub:2.1 --channel factory-7",
    "propeller-proxy deliver add@sha256:4d5e… --format json",
];

/// How often progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_BROKER))]
pub(crate) struct Options {
    /// What to deliver, as devices would ask for it
    #[arg(required = true, value_name = "REF")]
    references: Vec<String>,
    /// The channel, if several are configured
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// The topics on which the devices listen
    #[arg(long, value_enum, default_value_t)]
    layout: Topics,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<All>,
}

type Outcome = Result<Report, Error>;

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    options.verbosity.start_log();
    let config = Config::load(&options.settings.sources())?;
    let channel = Arc::new(channel::choose(&config.channels, options.channel.as_deref())?);
    let (address, waited) = (config.mqtt.address.clone(), config.mqtt.timeout);
    let made = tokio::task::spawn_blocking(move || Service::for_asks(config)).await;
    let service = made.map_err(|error| Failure::Other(exit::FAILURE, error.to_string(), None))??;

    let ended = CancellationToken::new();
    let mut running = pin!(service.run(ended.clone()));
    let delivered = async {
        let mut ready = service.ready();
        let ready = tokio::time::timeout(waited, ready.wait_for(|ready| *ready)).await;
        ready.map_err(|_| Error::no_broker_within(&address, waited))?.map_err(|_| Failure::Stopped)?;
        Ok(deliver_all(&service, &channel, &options).await)
    };
    let outcomes = tokio::select! {
        end = &mut running => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
        outcomes = unless_stopped(&stop, delivered) => outcomes,
    };
    ended.cancel();
    running.await?;
    print(&options, &outcomes?)
}

/// Asks for everything at once; the schedule lets them take turns.
async fn deliver_all(service: &Arc<Service>, channel: &Arc<Channel>, options: &Options) -> Vec<Outcome> {
    let bars = progress::bars(options.verbosity);
    let mut asks = JoinSet::new();
    let mut open: Vec<(App, ProgressBar)> = Vec::new();
    for (index, reference) in options.references.iter().enumerate() {
        let app = App { channel: Arc::clone(channel), layout: options.layout.into(), name: reference.as_str().into() };
        open.push((app.clone(), progress::of_chunks(&bars, reference)));
        let service = Arc::clone(service);
        asks.spawn(async move { (index, service.ask(app).await) });
    }
    let mut outcomes: Vec<Option<Outcome>> = open.iter().map(|_| None).collect();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            asked = asks.join_next() => match asked {
                Some(Ok((index, outcome))) => {
                    open[index].1.finish_and_clear();
                    outcomes[index] = Some(outcome);
                }
                // It panicked, and has said so.
                Some(Err(_)) => {}
                None => break,
            },
            _ = look.tick() => for (app, bar) in &open {
                if let Some((done, total)) = service.progress(app) {
                    progress::note(bar, done, total);
                }
            },
        }
    }
    let stopping = |index: usize| Error::Stopping { app_name: options.references[index].clone() };
    let all = outcomes.into_iter().enumerate();
    all.map(|(index, outcome)| outcome.unwrap_or_else(|| Err(stopping(index)))).collect()
}

fn print(options: &Options, outcomes: &[Outcome]) -> Result<u8, Failure> {
    let named = || options.references.iter().zip(outcomes);
    match options.format {
        Format::Json => output::print_line(&output::json(&named().map(row).collect::<Vec<_>>()))?,
        Format::Text => {
            for (name, outcome) in named() {
                match outcome {
                    Ok(report) => output::print_line(&line(name, report))?,
                    Err(error) => drop(exit::fail_with(error)),
                }
            }
        }
    }
    Ok(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(exit::status_of).max().unwrap_or_default())
}

fn line(name: &str, Report { digest, plan, fetching, sending, .. }: &Report) -> String {
    let (size, chunks) = (plan.size(), chunks(plan.total_chunks()));
    let (fetching, sending) = (fetching.as_secs_f64(), sending.as_secs_f64());
    let name = printable(name);
    format!("{name} {digest}: {size} bytes in {chunks}, fetched in {fetching:.3} s, sent in {sending:.3} s")
}

fn row((name, outcome): (&String, &Outcome)) -> Value {
    match outcome {
        Ok(Report { digest, plan, sent_bytes, fetching, sending, .. }) => json!({
            "app_name": name,
            "digest": digest,
            "size": plan.size(),
            "chunks": plan.total_chunks(),
            "sent_bytes": sent_bytes,
            "fetching_seconds": fetching.as_secs_f64(),
            "sending_seconds": sending.as_secs_f64(),
        }),
        Err(error) => json!({
            "app_name": name,
            "error": { "code": error.code(), "message": error.to_string(), "hint": error.hint() },
        }),
    }
}
