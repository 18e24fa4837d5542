//! `propeller-proxy run`: the service.

use propeller_proxy::config::Config;
use propeller_proxy::service::Service;
use tracing::info;

use crate::{exit, logging, shutdown};

pub(crate) async fn run() -> u8 {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return exit::fail(exit::CONFIGURATION, &error.to_string(), None),
    };
    logging::start(config.log_level);
    let stop = match shutdown::on_signal() {
        Ok(stop) => stop,
        Err(error) => return exit::fail(exit::FAILURE, &format!("signals cannot be caught: {error}"), None),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        instance_id = config.instance_id,
        broker = %config.mqtt.address,
        domain_id = config.channel.domain,
        channel_id = config.channel.id,
        registry = %config.registry.url,
        store = %config.store.folder.display(),
        chunk_size = config.chunk_size.get(),
        qos = config.mqtt.qos,
        "starting"
    );
    let outcome = match Service::new(config) {
        Ok(service) => service.run(stop).await,
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
