//! What drives the pipeline beside the path of a module: its next completion, the connections, housekeeping, the end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::task::{JoinError, JoinSet};
use tracing::warn;

use super::pipeline::{Completion, Pipeline};
use crate::delivery::MAX_OPEN_MODULES;
use crate::delivery::rules::action::{Options, Saved};
use crate::delivery::rules::coordinator::Coordinator;
use crate::delivery::rules::request::RequestId;
use crate::delivery::sender::Sender;
use crate::error::Error;
use crate::mqtt::{Health, Publisher};
use crate::oci::pull::Puller;
use crate::service::options::ServiceOptions;
use crate::state::State;
use crate::telemetry::{Telemetry, Waiting};
use crate::util::clock::Clock;
use crate::util::fair::FairSemaphore;

impl Pipeline {
    /// A pipeline with what an earlier process wrote to disk, which publishes chunks by `publisher`.
    pub(super) fn new(
        config: &ServiceOptions,
        saved: Saved,
        first_request: RequestId,
        publisher: Publisher,
        (clock, puller, state, telemetry): (Clock, Arc<Puller>, Arc<State>, Arc<Telemetry>),
    ) -> Self {
        let options = Options {
            limits: config.delivery.limits,
            chunk_size: config.delivery.chunk_size,
            tag_moves: config.delivery.tag_moves,
            replica: config.share_group.is_some().then(|| telemetry.instance().to_owned()),
        };
        Self {
            coordinator: Coordinator::new(options, saved, clock.now()),
            deliveries: std::collections::HashMap::new(),
            work: JoinSet::new(),
            sender: Sender::new(publisher, config.delivery.max_in_flight),
            withdrawals: FuturesUnordered::new(),
            places: FairSemaphore::new(MAX_OPEN_MODULES, 0),
            next_request: first_request,
            registry: config.registry.url.clone(),
            group: config.share_group.clone(),
            clock,
            puller,
            state,
            telemetry,
        }
    }

    /// Waits for what completes next. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Completion {
        let now = self.clock.now();
        // While the sender is busy, its next message comes first.
        let turn_at = if self.sender.is_ready() { self.coordinator.next_turn_at(now) } else { None };
        let alarm = self.coordinator.next_alarm().into_iter().chain(turn_at).min();
        let due = async {
            match alarm {
                Some(time) => tokio::time::sleep(time.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            sent = self.sender.next() => Completion::Sent(sent),
            Some(work) = self.work.join_next() => completion(work),
            Some(request) = self.withdrawals.next() => Completion::Withdrawn(request),
            () = due => Completion::Due,
        }
    }

    /// Takes what has completed: before each further message, so that it does not pile up behind them, nor count against them.
    pub(super) fn take_completed(&mut self) {
        while let Some(work) = self.work.try_join_next() {
            self.take(completion(work));
        }
        while let Some(Some(request)) = self.withdrawals.next().now_or_never() {
            self.take(Completion::Withdrawn(request));
        }
    }

    /// The connection for chunks is up. What the broker had may be lost.
    pub(super) fn chunks_connected(&mut self, Health { connections, down_time, .. }: Health) {
        if connections > 1 {
            let transfers = self.coordinator.chunks_connected(down_time, self.clock.now());
            if transfers > 0 {
                self.telemetry.covering_again(transfers, down_time);
            }
        }
        self.advance();
    }

    /// The connection for requests is up, with its subscriptions.
    pub(super) fn requests_connected(&mut self) {
        self.coordinator.requests_connected(self.clock.now());
        self.advance();
    }

    /// The connection for requests is down.
    pub(super) fn requests_disconnected(&mut self) {
        self.coordinator.requests_disconnected(self.clock.now());
    }

    /// Messages of other replicas were not read, which may have said what devices hold.
    pub(super) fn missed(&mut self) {
        if self.group.is_some() {
            warn!(event = "messages-dropped", "more messages of other proxies arrive than are read: some were dropped");
            self.coordinator.set_uncertain(self.clock.now());
            self.advance();
        }
    }

    /// What is due each second.
    pub(super) fn tick(&mut self, messages: usize) {
        self.coordinator.wake(self.clock.now());
        self.advance();
        let waiting = self.deliveries.values().filter(|delivery| delivery.module.is_none()).count();
        let free = self.places.free();
        self.telemetry.measured(Waiting {
            messages,
            modules: if free == 0 { waiting } else { 0 },
            changes: self.state.waiting(),
            requests: self.coordinator.open_requests(),
            transfers: self.coordinator.open_transfers(),
        });
    }

    /// Forgets what is out of date.
    pub(super) fn forget(&mut self) {
        self.coordinator.forget_versions(self.clock.now());
        self.telemetry.tell_repeats();
        self.advance();
    }

    /// Writes that devices can make requests now.
    pub(super) fn write_present(&self) {
        self.state.write_present(self.clock.now());
    }

    /// How many transfers are fetched or sent.
    pub(super) fn active(&self) -> usize {
        self.deliveries.len()
    }

    /// Goes on for at most `limit`, or until every transfer has ended; then ends those that have not.
    pub(super) async fn drain(&mut self, limit: Duration) {
        self.coordinator.drain();
        let ended = async {
            while self.active() > 0 {
                let completion = self.next().await;
                self.take(completion);
            }
        };
        let _ = tokio::time::timeout(limit, ended).await;
        let open: Vec<_> =
            self.deliveries.iter().map(|(transfer, delivery)| (*transfer, delivery.app.clone())).collect();
        for (transfer, app) in open {
            self.fail(transfer, &Error::Stopping { app_name: app.name.to_string() });
        }
        self.advance();
        self.telemetry.tell_repeats();
        self.work.shutdown().await;
    }
}

/// What a task of the pipeline has completed.
fn completion(work: Result<Completion, JoinError>) -> Completion {
    work.unwrap_or_else(|error| Completion::Panicked(error.id(), error.to_string()))
}
