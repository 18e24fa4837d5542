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
