//! The coordinator as time passes: what is due, and when.

use super::action::{Action, End, Fault};
use super::coordinator::Coordinator;
use super::replicas::{CLAIM_TIMEOUT, HEARTBEAT_INTERVAL};
use super::schedule::TransferId;
use super::transfer::Stage;
use crate::util::clock::Time;

impl<W> Coordinator<W> {
    /// When [`Coordinator::wake`] has something to do, or a chunk may be published again. It is to be called each second
    /// besides, where there are replicas.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Time> {
        let of_claims = self.schedule.transfers().filter_map(|(_, transfer)| match &transfer.stage {
            Stage::Claiming(_, since) => Some(*since + CLAIM_TIMEOUT),
            Stage::Contested(_, until) => Some(*until),
            _ => None,
        });
        let of_claims = if self.replicas.is_some() { of_claims.min() } else { None };
        of_claims.into_iter().chain(self.schedule.next_alarm()).min()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Time) {
        for id in self.schedule.wake(now) {
            self.fetch(id, now);
        }
        if self.replicas.is_some() {
            self.wake_replica(now);
        }
    }

    fn wake_replica(&mut self, now: Time) {
        let claims = self.schedule.transfers().filter_map(|(id, transfer)| match &transfer.stage {
            Stage::Claiming(_, since) => (now.since(*since) >= CLAIM_TIMEOUT).then_some((id, false)),
            Stage::Contested(_, until) => (*until <= now).then_some((id, true)),
            _ => None,
        });
        for (id, has_returned) in claims.collect::<Vec<_>>() {
            if has_returned {
                self.decide_contest(id, now);
            } else {
                self.end(id, End::Failed(Fault::ClaimLost), now);
            }
        }
        let Some(replicas) = &mut self.replicas else { return };
        let (expired, due) = (replicas.expire(now), replicas.due(now));
        self.forget(&expired);
        for (app, request) in due {
            self.admit(&app, request, now);
        }
        let open = self.schedule.transfers().find(|(_, transfer)| transfer.is_open());
        if now >= self.heartbeat_at + HEARTBEAT_INTERVAL
            && let Some((_, transfer)) = open
        {
            self.heartbeat_at = now;
            self.actions.push_back(Action::Heartbeat(transfer.app.clone()));
        }
    }

    /// The time for objections is over: the version is sent, or cut anew if it clashes.
    fn decide_contest(&mut self, id: TransferId, now: Time) {
        let Some(transfer) = self.schedule.get(id) else { return };
        let Stage::Contested(prepared, _) = transfer.stage else { return };
        if self.versions.clash(&transfer.app, &prepared.version(), now).is_some() {
            self.versions.withdraw(&transfer.app, &prepared.version());
            self.fetched(id, prepared.candidate, now);
        } else {
            self.send(id, now);
        }
    }
}
