//! The handle of a service: what it shares with the task, and its calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::readiness::{Checked, GOOD_FOR};
use crate::error::Error;
use crate::mqtt::topic::{App, Channels, is_topic_level};
use crate::oci::host::RegistryUrl;
use crate::oci::reference::Reference;
use crate::telemetry::Telemetry;
use crate::telemetry::events::Report;

/// Calls that wait for the service; further callers wait until there is room.
#[doc(alias = "bound")]
pub(super) const MAX_CALLS: usize = 256;

/// A handle of a proxy; cheap to clone. It does not keep the proxy running.
#[derive(Debug, Clone)]
pub struct Service(pub(super) Arc<Shared>);

/// What a handle and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) channels: Channels,
    pub(super) registry: RegistryUrl,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) calls: mpsc::Sender<Call>,
    /// Whether the proxy is subscribed to its requests.
    pub(super) is_ready: watch::Sender<bool>,
    /// When the loop of the service turned last.
    pub(super) pulse: watch::Sender<Instant>,
    /// Notified when somebody wants to know the readiness.
    pub(super) readiness_demand: Arc<Notify>,
    pub(super) readiness: watch::Sender<Option<Checked>>,
}

/// A delivery that is requested inside this process.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) caller: Caller,
    /// Cancelled when the caller does not wait any more.
    pub(super) withdrawn: CancellationToken,
}

/// Who waits for a delivery inside this process.
#[derive(Debug)]
pub(super) struct Caller {
    /// Since when.
    pub(super) begun: Instant,
    pub(super) reply: oneshot::Sender<Result<Report, Error>>,
}

impl Caller {
    /// The report of a delivery as this caller saw it: what was done before the call is excluded.
    pub(super) fn own(&self, report: &Report) -> Report {
        let elapsed = self.begun.elapsed();
        let sending = report.sending.min(elapsed);
        Report { sending, fetching: elapsed.saturating_sub(sending), ..report.clone() }
    }
}

impl Service {
    /// The id of this proxy: as configured, or generated and kept.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        self.0.telemetry.instance()
    }

    /// What becomes of its deliveries.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// The channels that it serves.
    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.0.channels
    }

    /// Whether the proxy is subscribed to its requests, now and on each change.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.0.is_ready.subscribe()
    }

    /// When the loop of the service turned last, now and each second. It stands still while the service hangs.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<Instant> {
        self.0.pulse.subscribe()
    }

    /// Whether the proxy can do its work, and when that was checked: within the last second, unless the check takes longer
    /// than `patience`; then the last result, if there is one.
    pub async fn readiness(&self, patience: Duration) -> Option<Checked> {
        let mut results = self.0.readiness.subscribe();
        self.demand_readiness();
        let is_new =
            |checked: &Option<Checked>| checked.as_ref().is_some_and(|checked| checked.at.elapsed() < GOOD_FOR);
        // If it takes longer, or the task has ended, the last result has to do.
        let _ = tokio::time::timeout(patience, results.wait_for(is_new)).await;
        self.0.readiness.borrow().clone()
    }

    /// Has the readiness checked, without waiting for it.
    pub fn demand_readiness(&self) {
        self.0.readiness_demand.notify_one();
    }

    /// Delivers `app` as if a device had requested it, and returns when the broker acknowledged all of it. If the future is
    /// dropped, the delivery is withdrawn, unless somebody else needs it. Such a request does not survive a restart.
    ///
    /// # Errors
    /// Whatever a delivery ends with; [`Error::BadReference`]; [`Error::NotServed`] if the proxy does not serve the channel,
    /// [`Error::GivenWay`] if another replica sends it, [`Error::Stopping`] if the service does not run.
    pub async fn deliver(&self, app: App) -> Result<Report, Error> {
        let Shared { channels, registry, calls, .. } = &*self.0;
        // The message bounds what a device sends, and the broker its topic.
        Reference::parse(&app.name, registry)?;
        let is_level = is_topic_level(&app.channel.domain) && is_topic_level(&app.channel.id);
        if !is_level || !channels.contains(&app.channel) {
            let (domain, channel) = (app.channel.domain.clone(), app.channel.id.clone());
            return Err(Error::NotServed { domain, channel });
        }
        let stopping = Error::Stopping { app_name: app.name.to_string() };
        let (reply, outcome) = oneshot::channel();
        let withdrawn = CancellationToken::new();
        let _withdraw = withdrawn.clone().drop_guard();
        let call = Call { app, caller: Caller { begun: Instant::now(), reply }, withdrawn };
        if calls.send(call).await.is_err() {
            return Err(stopping);
        }
        outcome.await.unwrap_or(Err(stopping))
    }
}
