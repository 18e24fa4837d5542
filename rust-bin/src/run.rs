//! `propeller-proxy run`: the service.

use clap::Args;
use propeller_proxy::config::Config;
use propeller_proxy::service::Service;
use tracing::{info, warn};

use crate::settings::{All, Flags};
use crate::verbosity::Verbosity;
use crate::{exit, logging, settings, shutdown};

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
    logging::start(options.verbosity.level(config.operation.log_level), config.operation.log_format);
    for warning in settings::unknown_variables() {
        warn!("{warning}");
    }
    let stop = match shutdown::on_signal() {
        Ok(stop) => stop,
        Err(error) => return exit::fail(exit::FAILURE, &format!("signals cannot be caught: {error}"), None),
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
    let outcome = match Service::new(config) {
        Ok(service) => {
            info!(instance_id = service.instance_id(), "ready to connect");
            service.run(stop).await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => {
            info!("stopped");
            exit::SUCCESS
        }
        Err(error) => exit::fail_with(&error),
    }
}
