//! `propeller-proxy run`: the service, with its HTTP endpoint, traces and messages to the service manager.

use std::io;
use std::time::Duration;

use clap::Args;
use propeller_proxy::config::{self};
use propeller_proxy::error::Error;
use propeller_proxy::service::Service;
use propeller_proxy::service::ServiceOptions;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::http::Endpoint;
use crate::settings::{All, Flags};
use crate::traces::Traces;
use crate::verbosity::Verbosity;
use crate::{exit, files, logging, metrics, notify, settings, shutdown};

/// How long the end waits for the HTTP endpoint and the watchdog.
#[doc(alias = "bound")]
const END_TIMEOUT: Duration = Duration::from_secs(1);

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
    let (config, log_level, operation): All = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(error) => return exit::misconfigured(&error),
    };
    let traces = match Traces::new(&operation) {
        Ok(traces) => traces,
        Err(error) => return exit::fail(exit::FAILURE, &format!("traces cannot be exported: {error}"), None),
    };
    let level = options.verbosity.level(log_level);
    logging::start(level, operation.log_format, traces.as_ref().map(Traces::tracer));
    for warning in settings::unknown_variables(&sources) {
        warn!("{warning}");
    }
    files::raise_limit();
    let stop = match shutdown::on_signal() {
        Ok(stop) => stop,
        Err(error) => return exit::fail(exit::FAILURE, &format!("signals cannot be caught: {error}"), None),
    };
    let endpoint = match &operation.http {
        None => None,
        Some(address) => match Endpoint::bind(address) {
            Ok(endpoint) => Some(endpoint),
            Err((message, hint)) => return exit::fail(exit::FAILURE, &message, Some(hint)),
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
            info!(event = "stopped", "stopped");
            exit::SUCCESS
        }
        Err(error) => exit::fail_with(&error),
    }
}

/// Runs the service, with everything that watches it, until `stop`, which is cancelled also if it ends by itself.
async fn serve(
    config: ServiceOptions,
    endpoint: Option<Endpoint>,
    traces: Option<&Traces>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let broker = config.mqtt.address.to_string();
    // Before the service: what it is made of looks for the recorder once.
    let endpoint = endpoint.map(|endpoint| metrics::install().map(|metrics| (endpoint, metrics))).transpose();
    let endpoint = endpoint.map_err(|error| Error::Setup { object: "metrics".into(), detail: error.to_string() })?;
    let (service, task) = Service::open(config).await?;
    if let Some(traces) = traces {
        traces.name(service.instance_id());
    }
    let mut watchers = JoinSet::new();
    let mut serving = None;
    if let Some((endpoint, metrics)) = endpoint {
        watchers.spawn(metrics::keep_up(metrics.clone(), stop.clone()));
        let served = endpoint.serve(&service, metrics);
        let failed = |error: io::Error| Error::Setup { object: "HTTP endpoint".into(), detail: error.to_string() };
        serving = Some(served.map_err(failed)?);
    }
    watchers.spawn(notify::keep_notified(&service, broker, stop.clone()));
    info!(instance_id = service.instance_id(), "ready to connect");
    let end = task.run(stop.clone()).await;
    stop.cancel();
    let ended = async {
        if let Some(serving) = serving {
            serving.end().await;
        }
        while watchers.join_next().await.is_some() {}
    };
    let _ = timeout(END_TIMEOUT, ended).await;
    end
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use propeller_proxy::config::Sources;
    use propeller_proxy::embedded::broker::{Access, Broker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::operation::HttpAddress;

    /// As in an interpreter that runs the command line more than once.
    #[tokio::test(flavor = "multi_thread")]
    async fn it_can_be_run_again_in_the_same_process() {
        let (broker, folder) = (Broker::start(Access::Anonymous).await.unwrap(), tempfile::tempdir().unwrap());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        for _ in 0..2 {
            let config = config::load::<ServiceOptions>(&Sources::of_variables(|name| match name {
                "PROXY_MQTT_ADDRESS" => Some(broker.address().into()),
                "PROXY_REGISTRY_URL" | "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" => Some("x".into()),
                "PROXY_CACHE_DIR" | "PROXY_STATE_DIR" => Some(folder.path().join(name).into()),
                _ => None,
            }));
            let endpoint = Endpoint::bind(&HttpAddress { host: "127.0.0.1".into(), port });
            let (endpoint, stop) = (endpoint.map_err(|(message, _)| message).unwrap(), CancellationToken::new());
            let running = tokio::spawn(serve(config.unwrap(), Some(endpoint), None, stop.clone()));
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut scrape = String::new();
            stream.read_to_string(&mut scrape).await.unwrap();
            assert!(scrape.contains("\npropeller_proxy_build_info{"), "{scrape}");
            stop.cancel();
            running.await.unwrap().unwrap();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap_err();
        }
        broker.stop().await;
    }
}
