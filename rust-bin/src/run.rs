//! `propeller-proxy run`: the service, and what tells operators how it is doing.

use clap::Args;
use propeller_proxy::config::Config;
use propeller_proxy::error::Error;
use propeller_proxy::service::Service;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::http::Endpoint;
use crate::settings::{All, Flags};
use crate::traces::Traces;
use crate::verbosity::Verbosity;
use crate::{exit, logging, metrics, notify, settings, shutdown};

const HTTP_HINT: &str = "set PROXY_HTTP_PORT to another port, to 0 for a free one, or to off";

const EXAMPLES: &[&str] = &[
    "propeller-proxy run",
    "propeller-proxy run --config-file /etc/propeller-proxy/config.toml",
    "PROXY_REGISTRY_URL=localhost:5000 PROXY_DOMAIN_ID=domain PROXY_CHANNEL_ID=channel propeller-proxy",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_SERVICE))]
pub(crate) struct Options {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<All>,
}

pub(crate) async fn run(options: Options) -> u8 {
    let sources = options.settings.sources();
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => return exit::misconfigured(&error),
    };
    let traces = match Traces::new(&config.operation) {
        Ok(traces) => traces,
        Err(error) => return exit::fail(exit::FAILURE, &format!("traces cannot be exported: {error}"), None),
    };
    let level = options.verbosity.level(config.operation.log_level);
    logging::start(level, config.operation.log_format, traces.as_ref().map(Traces::tracer));
    for warning in settings::unknown_variables() {
        warn!("{warning}");
    }
    let stop = match shutdown::on_signal() {
        Ok(stop) => stop,
        Err(error) => return exit::fail(exit::FAILURE, &format!("signals cannot be caught: {error}"), None),
    };
    let endpoint = match &config.operation.http {
        None => None,
        Some(address) => match Endpoint::bind(address) {
            Ok(endpoint) => Some(endpoint),
            Err(message) => return exit::fail(exit::FAILURE, &message, Some(HTTP_HINT)),
        },
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config_file = sources.file().map(|file| tracing::field::display(file.display())),
        broker = %config.mqtt.address,
        domain_id = config.channels.domain,
        channel_ids = ?config.channels.ids,
        share_group = config.share_group,
        registry = %config.registry.url,
        store = %config.store.folder.display(),
        state = %config.state.folder.display(),
        chunk_size = config.delivery.chunk_size.get(),
        qos = config.mqtt.qos,
        "starting"
    );
    let outcome = serve(config, endpoint, traces.as_ref(), stop).await;
    if let Some(traces) = traces {
        traces.flush().await;
    }
    match outcome {
        Ok(()) => {
            info!("stopped");
            exit::SUCCESS
        }
        Err(error) => exit::fail_with(&error),
    }
}

/// Runs the service, with everything that watches it, until `stop`.
async fn serve(
    config: Config,
    endpoint: Option<Endpoint>,
    traces: Option<&Traces>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let broker = config.mqtt.address.to_string();
    // Before the service: what it is made of looks for the recorder once.
    let endpoint = endpoint.map(|endpoint| metrics::install().map(|metrics| (endpoint, metrics))).transpose();
    let endpoint = endpoint.map_err(|error| Error::Setup { object: "metrics".into(), detail: error.to_string() })?;
    let service = Service::new(config)?;
    if let Some(traces) = traces {
        traces.name(service.instance_id());
    }
    if let Some((endpoint, metrics)) = endpoint {
        let served = endpoint.serve(&service, metrics);
        served.map_err(|error| Error::Setup { object: "HTTP endpoint".into(), detail: error.to_string() })?;
    }
    notify::keep_told(&service, broker, stop.clone());
    info!(instance_id = service.instance_id(), "ready to connect");
    service.run(stop).await
}
