//! Deliveries that are asked for inside this process, not by a device.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::deliveries::Deliveries;
use super::{Purpose, Service};
use crate::config::Config;
use crate::delivery::schedule::RequestId;
use crate::error::Error;
use crate::journal::{Journal, Report};
use crate::reference::Reference;
use crate::state::State;
use crate::sync::lock;
use crate::topic::{App, is_topic_level};

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
    /// A service that delivers what [`Service::ask`] asks for, and takes no requests from devices: a guest beside the proxy
    /// that does. It has an identifier, sessions and a state of its own, all of which end with it, tells nobody that it is
    /// there, and is of no group.
    ///
    /// It does not know what that proxy sent. So it is unsure from the beginning, and cuts modules behind tags into numbers
    /// of chunks that others do not take, as one does whose state was lost.
    ///
    /// # Errors
    /// As [`Service::new`].
    pub fn for_asks(config: Config) -> Result<Arc<Self>, Error> {
        let config = Config { instance_id: None, share_group: None, ..config };
        let service = Self::with(config, State::temporary()?, false)?;
        service.be_unsure();
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
        if !is_level || !self.config.channels.serve(&app.channel) {
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
