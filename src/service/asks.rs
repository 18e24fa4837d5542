//! Deliveries that are asked for inside this process, not by a device.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::deliveries::Deliveries;
use super::{Purpose, Service};
use crate::config::Config;
use crate::delivery::rules::schedule::RequestId;
use crate::error::Error;
use crate::mqtt::topic::{App, is_topic_level};
use crate::oci::reference::Reference;
use crate::state::State;
use crate::telemetry::events::{Journal, Report};
use crate::util::sync::lock;

/// Asks that may wait for the service to look at them; further ones wait to be told.
pub(super) const MAX_WAITING: usize = 256;

/// A delivery that is asked for.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: RequestId,
    pub(super) app: App,
}

/// Where the running service takes them from. When it is gone, nobody waits in vain.
pub(super) struct Asks<'a> {
    waiting: Option<mpsc::Receiver<Ask>>,
    journal: &'a Journal,
}

impl Asks<'_> {
    /// The next one. There is always one who may ask: the service itself.
    pub(super) async fn next(&mut self) -> Option<Ask> {
        self.waiting.as_mut()?.recv().await
    }
}

impl Drop for Asks<'_> {
    fn drop(&mut self) {
        self.waiting = None;
        self.journal.close();
    }
}

impl Service {
    /// A service that delivers what [`Service::ask`] asks for, and takes no requests from devices: in place of the proxy that
    /// does, while that is away. Beside it, the two would send one app at once, in totals of their own.
    ///
    /// It has the state of that proxy to itself, knows from it what was sent, and writes down what it sends. Requests that are
    /// open in there are left for the proxy, as are its identifier, its session at the broker, and when it was last there. It
    /// tells nobody that it is there, and is of no group.
    ///
    /// Where it has no such state, as in a temporary folder, or in one that no proxy has used though the channel `had_proxies`,
    /// it is unsure: it cuts modules behind tags into numbers of chunks that others do not take.
    ///
    /// # Errors
    /// As [`Service::new`]. [`Error::Disk`] also if a proxy uses the state folder, though nobody may have named that.
    pub fn for_asks(config: Config, had_proxies: bool) -> Result<Arc<Self>, Error> {
        let (state, left) = State::take_over(&config.state)?;
        let is_unsure = state.is_temporary() || (had_proxies && left.present.is_none());
        let config = Config { instance_id: Some(format!("deliver-{}", Uuid::new_v4())), share_group: None, ..config };
        let service = Self::with(config, (state, left), false)?;
        if is_unsure {
            service.be_unsure();
        }
        Ok(service)
    }

    /// Takes what is asked for; nothing if the service runs, or ran, already.
    pub(super) fn take_asks(&self) -> Asks<'_> {
        Asks { waiting: lock(&self.waiting_asks).take(), journal: &self.journal }
    }

    /// Takes in an ask, unless whoever asked has gone; also while it is taken in.
    pub(super) fn admit_ask(self: &Arc<Self>, Ask { id, app }: Ask, deliveries: &mut Deliveries<'_>) {
        if self.journal.is_expected(id) {
            self.admit(id, &app, self.clock.now(), Purpose::Request, deliveries);
            if !self.journal.is_expected(id) {
                self.take_back(id);
            }
        }
    }

    /// Ends the delivery of a request that nobody waits for any more, unless somebody else does.
    fn take_back(&self, id: RequestId) {
        if let Some(transfer) = self.courier.withdraw(id)
            && let Some(delivery) = lock(&self.under_way).get(&transfer)
        {
            delivery.withdrawn.cancel();
        }
    }

    /// Delivers `app` as if a device had asked for it, and returns when the broker has all of it. If the wait is given up,
    /// so is the delivery, unless somebody else wants it as well. Such a request does not survive a restart.
    ///
    /// # Errors
    /// Whatever a delivery ends with; [`Error::BadReference`]; [`Error::NotServed`] if the proxy does not serve the channel, [`Error::GivenWay`]
    /// if another replica sends it, [`Error::Stopping`] if the service does not run.
    pub async fn ask(&self, app: App) -> Result<Report, Error> {
        // What a device sends is bounded by its message, and its topic by the broker.
        Reference::parse(&app.name, &self.config.registry.url)?;
        let is_level = is_topic_level(&app.channel.domain) && is_topic_level(&app.channel.id);
        if !is_level || !self.config.channels.contains(&app.channel) {
            let (domain, channel) = (app.channel.domain.clone(), app.channel.id.clone());
            return Err(Error::NotServed { domain, channel });
        }
        let stopping = || Error::Stopping { app_name: app.name.to_string() };
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let answered = self.journal.expect(id);
        let _asked = Asked { service: self, id };
        self.asks.send(Ask { id, app: app.clone() }).await.map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// Withdraws a request when nobody waits for it any more.
struct Asked<'a> {
    service: &'a Service,
    id: RequestId,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // What was answered is not open any more.
        if self.service.journal.forget(self.id) {
            self.service.take_back(self.id);
        }
    }
}
