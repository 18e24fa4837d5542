//! The task of a service: one loop, which waits for whatever happens next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use crate::error::Error;
use crate::oci::pull::Puller;
use crate::service::connections::{Change, Connections};
use crate::service::handle::{Call, MAX_CALLS, Service, Shared};
use crate::service::options::ServiceOptions;
use crate::service::pipeline::Pipeline;
use crate::service::readiness::Readinesses;
use crate::state::{Restored, State};
use crate::telemetry::Telemetry;

/// How long open transfers continue when the service is stopped.
#[doc(alias = "bound")]
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stopping service waits for a readiness check that hangs.
#[doc(alias = "bound")]
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of housekeeping.
const TICK: Duration = Duration::from_secs(1);
/// How often it is written that the proxy has its subscription, ticks.
const PRESENT_TICKS: u64 = 5;
/// How often what is out of date is forgotten, ticks.
const FORGET_TICKS: u64 = 60;

/// A proxy that is not running yet.
#[derive(Debug)]
pub struct Task {
    config: ServiceOptions,
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    puller: Arc<Puller>,
    state: Arc<State>,
    restored: Restored,
}

impl Service {
    /// A proxy that is not connected yet, and the task that runs it. Reads the disk off the async threads.
    ///
    /// # Errors
    /// [`Error::Setup`] if the HTTP client cannot be made, [`Error::Disk`] if the store or the state cannot be opened.
    pub async fn open(config: ServiceOptions) -> Result<(Self, Task), Error> {
        let (state, restored) = State::open(config.state.clone(), config.delivery.chunk_size).await?;
        let (registry, store) = (config.registry.clone(), config.store.clone());
        let puller = tokio::task::spawn_blocking(move || Puller::new(&registry, &store)).await;
        let setup = |panic: tokio::task::JoinError| Error::Setup { object: "store".into(), detail: panic.to_string() };
        let puller = Arc::new(puller.map_err(setup)??);
        let instance = config.instance_id.clone().unwrap_or_else(|| restored.instance_id.clone());
        let (calls_sender, calls) = mpsc::channel(MAX_CALLS);
        let shared = Arc::new(Shared {
            channels: config.channels.clone(),
            registry: config.registry.url.clone(),
            telemetry: Arc::new(Telemetry::new(instance, restored.clock)),
            calls: calls_sender,
            is_ready: watch::Sender::new(false),
            pulse: watch::Sender::new(Instant::now()),
            readiness_demand: Arc::default(),
            readiness: watch::Sender::new(None),
        });
        let task = Task { config, shared: Arc::clone(&shared), calls, puller, state: Arc::new(state), restored };
        Ok((Self(shared), task))
    }
}

impl Task {
    /// Serves requests until `stop`; then finishes what it can within two seconds and disconnects.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`] if the broker refuses the first connection or subscription. An absent broker is waited
    /// for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        let end = self.serve(stop).await;
        shared.is_ready.send_replace(false);
        // Fails if that panics, which is logged there.
        let _ = tokio::task::spawn_blocking(move || state.close()).await;
        end
    }

    async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { config, shared, mut calls, puller, state, restored } = self;
        let telemetry = Arc::clone(&shared.telemetry);
        let (mut connections, mut messages) = Connections::open(&config, &telemetry, &restored)?;
        let Restored { requests, saved, clock, .. } = restored;
        telemetry.connect(connections.publisher());
        let readiness = Readinesses {
            broker: config.mqtt.address.clone(),
            connections: connections.health(),
            registry: config.registry.url.clone(),
            pull_policy: config.registry.pull_policy,
            puller: Arc::clone(&puller),
            state: Arc::clone(&state),
        };
        let readiness = AbortOnDropHandle::new(tokio::spawn(
            readiness.run(Arc::clone(&shared.readiness_demand), shared.readiness.clone()),
        ));
        let first_request = requests.last().map_or(0, |(id, _)| id + 1);
        let parts = (clock, puller, state, Arc::clone(&telemetry));
        let mut pipeline = Pipeline::new(&config, saved, first_request, connections.chunk_publisher(), parts);
        pipeline.resume(requests);
        let mut ticks = interval(TICK);
        let (mut tick, mut connected): (u64, u64) = (0, 0);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                change = connections.changed() => match change {
                    Change::Ended(end) => return end,
                    Change::Requests(health) => {
                        shared.is_ready.send_replace(health.is_up);
                        telemetry.connection_changed(health.is_up);
                        connected = tick;
                        if health.is_up {
                            connections.announce();
                            pipeline.requests_connected();
                        } else {
                            pipeline.requests_disconnected();
                        }
                    }
                    Change::Chunks(health) if health.is_up => {
                        // The will of this connection said otherwise.
                        if connections.is_up() {
                            connections.announce();
                        }
                        pipeline.chunks_connected(health);
                    }
                    Change::Chunks(_) => {}
                },
                Some(message) = messages.recv() => {
                    pipeline.take_completed();
                    pipeline.receive(message);
                }
                Some(call) = calls.recv() => {
                    pipeline.take_completed();
                    pipeline.call(call);
                }
                next = pipeline.next() => pipeline.take(next),
                _ = ticks.tick() => {
                    tick += 1;
                    connections.correct();
                    if connections.take_missed() {
                        pipeline.missed();
                    }
                    // Not before retained messages had time to arrive, which say whether anything was lost.
                    if connections.is_up() && (tick - connected).is_multiple_of(PRESENT_TICKS) {
                        pipeline.write_present();
                    }
                    if tick.is_multiple_of(FORGET_TICKS) {
                        pipeline.forget();
                    }
                    pipeline.tick(messages.len());
                    shared.pulse.send_replace(Instant::now());
                }
            }
        }
        info!(event = "stopping", open_transfers = pipeline.active(), "stopping");
        pipeline.drain(DRAIN_TIMEOUT).await;
        if connections.is_up() {
            pipeline.write_present();
        }
        connections.leave().await;
        // A disk that hangs is abandoned.
        readiness.abort();
        let _ = timeout(CHECK_TIMEOUT, readiness).await;
        Ok(())
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
