//! Delivering where no proxy is online: the service runs for as long as it takes, and serves devices meanwhile.

use std::pin::pin;
use std::sync::Arc;

use indicatif::ProgressBar;
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::topic::{App, Channel};
use propeller_proxy::service::Service;
use propeller_proxy::service::ServiceOptions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Delivered, LOOK_INTERVAL, Options, Outcome};
use crate::failure::Failure;
use crate::progress;
use crate::shutdown::unless_stopped;

/// Runs a service for as long as it takes.
pub(super) async fn deliver_all(
    config: ServiceOptions,
    channel: &Arc<Channel>,
    options: &Options,
    stop: &CancellationToken,
) -> Result<Vec<Outcome>, Failure> {
    let (address, waited) = (config.mqtt.address.clone(), config.mqtt.timeout);
    let (service, task) = Service::open(config).await?;

    let ended = CancellationToken::new();
    let mut running = pin!(task.run(ended.clone()));
    let delivered = async {
        let mut ready = service.ready();
        let ready = tokio::time::timeout(waited, ready.wait_for(|ready| *ready)).await;
        ready.map_err(|_| Error::no_broker_within(&address, waited))?.map_err(|_| Failure::Stopped)?;
        Ok(request_all(&service, channel, options).await)
    };
    let outcomes = tokio::select! {
        end = &mut running => return end.map_err(Failure::Core).and(Err(Failure::Stopped)),
        outcomes = unless_stopped(stop, delivered) => outcomes,
    };
    ended.cancel();
    running.await?;
    outcomes
}

/// Requests everything at once; the transfers take turns.
async fn request_all(service: &Service, channel: &Arc<Channel>, options: &Options) -> Vec<Outcome> {
    let bars = progress::bars(options.verbosity);
    let mut calls = JoinSet::new();
    let mut open: Vec<(App, ProgressBar)> = Vec::new();
    for (index, reference) in options.references.iter().enumerate() {
        let app = App { channel: Arc::clone(channel), layout: options.layout.into(), name: reference.as_str().into() };
        open.push((app.clone(), progress::of_chunks(&bars, reference)));
        let service = service.clone();
        calls.spawn(async move { (index, service.deliver(app).await.map(Delivered::from)) });
    }
    let mut outcomes: Vec<Option<Outcome>> = open.iter().map(|_| None).collect();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            called = calls.join_next() => match called {
                Some(Ok((index, outcome))) => {
                    open[index].1.finish_and_clear();
                    outcomes[index] = Some(outcome);
                }
                // A panic, which is in the log.
                Some(Err(_)) => {}
                None => break,
            },
            _ = look.tick() => for (app, bar) in &open {
                if let Some((done, total)) = service.telemetry().progress(app) {
                    progress::note(bar, done, total);
                }
            },
        }
    }
    let stopping = |index: usize| Error::Stopping { app_name: options.references[index].clone() };
    let all = outcomes.into_iter().enumerate();
    all.map(|(index, outcome)| outcome.unwrap_or_else(|| Err(stopping(index)))).collect()
}
