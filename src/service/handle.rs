//! The handle of a service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::call::{Call, Caller};
use super::readiness::{Checked, GOOD_FOR};
use super::shared::Shared;
use super::task::Task;
use crate::error::Error;
use crate::mqtt::topic::{App, Channels, is_topic_level};
use crate::oci::reference::Reference;
use crate::service::options::ServiceOptions;
use crate::telemetry::Telemetry;
use crate::telemetry::events::Report;

/// A handle of a proxy; cheap to clone. It does not keep the proxy running.
#[derive(Debug, Clone)]
pub struct Service(Arc<Shared>);

impl Service {
    /// A proxy that is not connected yet, and the task that runs it. Reads the disk off the async threads.
    ///
    /// # Errors
    /// [`Error::Setup`] if the HTTP client cannot be made, [`Error::Disk`] if the store or the state cannot be opened.
    pub async fn open(config: ServiceOptions) -> Result<(Self, Task), Error> {
        let (shared, task) = Task::open(config).await?;
        Ok((Self(shared), task))
    }

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
