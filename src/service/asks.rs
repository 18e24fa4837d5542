//! Deliveries that are asked for inside this process, not by a device.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::Service;
use crate::delivery::schedule::RequestId;
use crate::error::Error;
use crate::journal::{Journal, Report};
use crate::sync::lock;
use crate::topic::App;

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
    /// Takes what is asked for; nothing if the service runs, or ran, already.
    pub(super) fn take_asks(&self) -> Asks<'_> {
        Asks { waiting: lock(&self.waiting_asks).take(), journal: &self.journal }
    }

    /// Delivers `app` as if a device had asked for it, and returns when the broker has all of it. If the wait is given up,
    /// so is the delivery, unless somebody else wants it as well. Such a request does not survive a restart.
    ///
    /// # Errors
    /// Whatever a delivery ends with; [`Error::NotServed`] if the proxy does not serve the channel, [`Error::GivenWay`]
    /// if another replica sends it, [`Error::Stopping`] if the service does not run.
    pub async fn ask(&self, app: App) -> Result<Report, Error> {
        if !self.config.channels.serve(&app.channel) {
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
        let Self { service, id } = *self;
        service.journal.forget(id);
        if let Some(transfer) = service.courier.withdraw(id) {
            service.withdraw(transfer);
        }
    }
}
