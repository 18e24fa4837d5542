//! The coordinator where a transfer begins again: its module is damaged on disk, or this replica stood still.

use super::action::{Action, End};
use super::coordinator::Coordinator;
use super::schedule::TransferId;
use super::transfer::{Purpose, Stage, Transfer};
use crate::util::clock::Time;

/// How often a transfer begins again because its module is damaged on disk.
#[doc(alias = "bound")]
const MAX_RESTARTS: u32 = 2;

impl<W> Coordinator<W> {
    /// The module of a transfer is damaged on disk, and no more in the store. What was sent of it is right, so the same
    /// version is fetched again for the same requests, in a new transfer. Returns whether it is: not more than twice.
    pub fn damaged(&mut self, id: TransferId, now: Time) -> bool {
        let may_restart = self.schedule.get(id).is_some_and(|transfer| transfer.restarts < MAX_RESTARTS);
        if may_restart {
            let successor = self.schedule.restart(id, Purpose::Resume);
            self.replace(id, successor, now);
        }
        may_restart
    }

    /// Ends a transfer whose requests, if any, are in `successor`, which is fetched.
    fn replace(&mut self, id: TransferId, successor: Option<TransferId>, now: Time) {
        if let Some(successor) = successor {
            if let Some(app) = self.schedule.get(successor).map(|transfer| transfer.app.clone()) {
                self.versions.end(&app, now);
                self.persist_versions(app, None);
            }
            self.fetch(successor, now);
        } else {
            let requests = self.remove(id, now);
            self.forget(&requests);
        }
        self.actions.push_back(Action::End { transfer: id, end: End::Superseded, requests: Vec::new() });
    }

    /// This replica was without its lease for so long that others may have forgotten what it sends: what it sends is
    /// resolved, planned and claimed anew. For a repeat no device waits any more.
    pub(super) fn begin_again(&mut self, now: Time) {
        let is_sent = |transfer: &Transfer<W>| matches!(transfer.stage, Stage::Contested(..) | Stage::Sending { .. });
        let sent = self.schedule.transfers().filter(|(_, transfer)| is_sent(transfer));
        for (id, is_open) in sent.map(|(id, transfer)| (id, transfer.is_open())).collect::<Vec<_>>() {
            let successor = if is_open { self.schedule.restart(id, Purpose::Request) } else { None };
            self.replace(id, successor, now);
        }
    }
}
