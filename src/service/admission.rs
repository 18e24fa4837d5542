//! What becomes of what arrives: a request opens a transfer, joins one, or is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, info};

use super::deliveries::Deliveries;
use super::intake::Arrival;
use super::{MAX_REQUEST_AGE, Purpose, Service};
use crate::delivery::rules::schedule::{Admission, RequestId};
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::status;
use crate::mqtt::topic::App;
use crate::state::OpenRequest;
use crate::telemetry::events::What;
use crate::util::clock::Time;
use crate::util::fields::int;
use crate::util::metrics;

impl Service {
    /// Takes in what arrived. `away` is how long the proxy was away before.
    pub(super) fn arrived(self: &Arc<Self>, arrival: Arrival, away: Option<Duration>, deliveries: &mut Deliveries<'_>) {
        let now = self.clock.now();
        match arrival {
            Arrival::Request { app, is_queued, ack } => {
                if is_queued && away.is_none() {
                    // There was a session, of which nothing is known any more.
                    self.be_unsure();
                }
                if is_queued && away.is_some_and(|away| away >= MAX_REQUEST_AGE) {
                    let reason = "it waited at the broker, and the proxy was away for too long";
                    self.turn_away(&app, &Error::TooLate { app_name: app.name.to_string(), reason });
                    ack.acknowledge();
                } else if let Some(group) = &self.group {
                    group.assign(&app, now);
                    ack.acknowledge();
                    self.take_over(group, &app, deliveries);
                } else {
                    self.request(&app, now, ack, deliveries);
                }
            }
            Arrival::Witnessed(app) => {
                if let Some(group) = &self.group {
                    group.witness(&app, now);
                    self.take_over(group, &app, deliveries);
                }
            }
            Arrival::Status(app, status) => {
                if let Some(group) = &self.group {
                    self.heard(group, &app, &status);
                }
            }
            Arrival::Presence { instance, is_online, is_retained } => {
                // What is retained was there before this proxy, which remembers nothing of it.
                if is_retained && away.is_none() {
                    self.be_unsure();
                }
                if let Some(group) = &self.group
                    && !is_online
                {
                    group.left(&instance);
                }
            }
        }
    }

    /// Writes a request down, and serves it.
    pub(super) fn request(self: &Arc<Self>, app: &App, arrived: Time, ack: Ack, deliveries: &mut Deliveries<'_>) {
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.state.open_request(id, OpenRequest { app: app.clone(), arrived }, ack);
        self.admit(id, app, arrived, Purpose::Request, deliveries);
    }

    /// Opens a transfer for a request, unless it joins one or there are too many.
    pub(super) fn admit(
        self: &Arc<Self>,
        id: RequestId,
        app: &App,
        arrived: Time,
        purpose: Purpose,
        deliveries: &mut Deliveries<'_>,
    ) {
        let (app_name, channel) = (&*app.name, &*app.channel.id);
        match self.courier.request(app, id, arrived) {
            Ok(Admission::Opened(transfer)) => {
                info!(event = "requested", app_name, channel, "requested");
                self.journal.note(app, What::Requested);
                self.reporter.tell(app, status::DeliveryState::Queued);
                deliveries.begin(transfer, app.clone(), purpose);
            }
            Ok(Admission::Joined { transfer, requests }) => {
                info!(parent: self.span_of(transfer), event = "joined", app_name, channel, requests = int(requests), "joined");
                self.journal.note(app, What::Joined { requests });
            }
            Err(error) => {
                self.state.close_requests(vec![id]);
                self.refuse(app, &error);
                self.journal.given_up(&[id], &error);
            }
        }
    }

    /// Refuses a request that was never taken in.
    pub(super) fn turn_away(&self, app: &App, error: &Error) {
        metrics::requests(error.code()).increment(1);
        self.refuse(app, error);
    }

    /// Tells a failure to everybody who may want to know. Where devices cannot ask, whoever asked says it to people.
    pub(super) fn refuse(&self, app: &App, error: &Error) {
        self.reporter.tell_failure(app, error);
        self.journal.note(app, What::Failed(error.clone()));
        if let Error::Withdrawn { .. } = error {
            // Whoever could be alarmed has done it.
            info!(app_name = &*app.name, channel = &*app.channel.id, "withdrawn");
        } else if self.takes_requests {
            log(error, &app.channel.id);
        }
    }
}

/// Logs a failure with everything that a reader needs.
pub(super) fn log(error: &Error, channel: &str) {
    error!(
        code = error.code(),
        stage = %error.stage(),
        side = %error.side(),
        retryable = error.retryable(),
        channel,
        hint = error.hint(),
        "{error}"
    );
}
