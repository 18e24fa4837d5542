//! `propeller-proxy deliver`: delivers modules now, without a request of a device.

mod by_request;
mod by_service;
mod options;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use propeller_proxy::config;
use propeller_proxy::mqtt::presence;
use propeller_proxy::service::ServiceOptions;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::options::LOOK_INTERVAL;
pub(crate) use self::options::Options;
use self::outcome::{Delivered, Outcome};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::shutdown::unless_stopped;
use crate::terminal::printable;
use crate::{channel, exit};

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    options.verbosity.start_log();
    let config = config::load::<ServiceOptions>(&options.settings.sources())?;
    let channel = Arc::new(channel::choose(&config.channels, options.channel.as_deref())?);
    let presences = async { Ok(presence::query(&config.mqtt, &channel).await?) };
    let online = unless_stopped(&stop, presences).await?;
    let outcomes = if online.is_empty() {
        by_service::deliver_all(config, &channel, &options, &stop).await
    } else {
        tracing::info!(?online, "publishing requests, as a device does");
        unless_stopped(&stop, by_request::deliver_all(&config.mqtt, &channel, &options)).await
    };
    let outcomes = outcomes?;
    let status = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(exit::status_of).max();
    exit::after(print(&options, &outcomes), status.unwrap_or_default())
}

fn print(options: &Options, outcomes: &[Outcome]) -> Result<(), Failure> {
    let named = || options.references.iter().zip(outcomes);
    if options.format == Format::Json {
        return output::print_line(&output::json(&named().map(row).collect::<Vec<_>>()));
    }
    // Errors go to standard error, and are printed also where standard output is closed.
    let print = |(name, outcome): (&String, &Outcome)| match outcome {
        Ok(delivered) => output::print_line(&line(name, delivered)),
        Err(error) => {
            exit::fail_with(error);
            Ok(())
        }
    };
    let printed: Vec<_> = named().map(print).collect();
    printed.into_iter().collect()
}

fn line(name: &str, Delivered { digest, size, chunks, fetching, sending, .. }: &Delivered) -> String {
    let took = |verb: &str, time: &Option<Duration>| {
        time.map(|time| format!(", {verb} in {:.3} s", time.as_secs_f64())).unwrap_or_default()
    };
    let (name, chunks) = (printable(name), output::chunks(*chunks));
    format!("{name} {digest}: {size} bytes in {chunks}{}{}", took("fetched", fetching), took("sent", sending))
}

fn row((name, outcome): (&String, &Outcome)) -> Value {
    match outcome {
        Ok(Delivered { digest, size, chunks, sent_bytes, fetching, sending }) => json!({
            "app_name": name,
            "digest": digest,
            "size": size,
            "chunks": chunks,
            "sent_bytes": sent_bytes,
            "fetching_seconds": fetching.as_ref().map(Duration::as_secs_f64),
            "sending_seconds": sending.as_ref().map(Duration::as_secs_f64),
        }),
        Err(error) => json!({
            "app_name": name,
            "error": { "code": error.code(), "message": error.to_string(), "hint": error.hint() },
        }),
    }
}
