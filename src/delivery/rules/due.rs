//! The coordinator as time passes: what is due, and when.

use super::action::{Action, End};
use super::coordinator::Coordinator;
use super::replicas::CLAIM_TIMEOUT;
use super::request::Refusal;
use super::transfer::Stage;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

impl<W> Coordinator<W> {
    /// When [`Coordinator::wake`] has something to do. It is to be called each second besides.
    pub fn next_alarm(&self) -> Option<Time> {
        let of_claims = self.schedule.transfers().filter_map(|(_, transfer)| match &transfer.stage {
            Stage::Claiming(_, since) => self.is_connected().then_some(*since + CLAIM_TIMEOUT),
            Stage::Contested(_, until) => Some(*until),
            _ => None,
        });
        let of_claims = if self.replicas.is_some() { of_claims.min() } else { None };
        of_claims.into_iter().chain(self.schedule.next_alarm()).min()
    }

    /// When the publish rate permits a chunk that waits for it.
    pub fn next_turn_at(&self, now: Time) -> Option<Time> {
        if self.has_lease(now) { self.schedule.next_turn_at() } else { None }
    }

    /// Whether chunks may be sent now. Alone, always.
    pub(super) fn has_lease(&self, now: Time) -> bool {
        self.replicas.as_ref().is_none_or(|replicas| replicas.has_lease(now))
    }

    /// Publishes a message that renews the lease, on the status topic of `app`.
    pub(super) fn renew_lease(&mut self, app: App, now: Time) {
        let number = self.replicas.as_mut().and_then(|replicas| replicas.renewal(now));
        self.actions.extend(number.map(|number| Action::Live(app, number)));
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
            Stage::Claiming(_, since) => {
                (self.is_connected() && now.since(*since) >= CLAIM_TIMEOUT).then_some((id, false))
            }
            Stage::Contested(_, until) => (*until <= now).then_some((id, true)),
            _ => None,
        });
        for (id, has_returned) in claims.collect::<Vec<_>>() {
            if has_returned {
                self.send_unless_it_clashes(id, now);
            } else {
                self.end(id, End::Failed(Refusal::ClaimLost), now);
            }
        }
        if self.is_connected() && !self.is_draining {
            self.take_over_due(now);
        }
        if let Some((_, transfer)) = self.schedule.transfers().find(|(_, transfer)| transfer.is_open()) {
            self.actions.push_back(Action::Heartbeat(transfer.app.clone()));
        }
        let sent = self.schedule.transfers().find(|(_, transfer)| transfer.is_sending());
        if let Some(app) = sent.map(|(_, sent)| sent.app.clone()) {
            self.renew_lease(app, now);
        }
    }

    /// Serves, rejects or forgets the requests that no other replica has served.
    fn take_over_due(&mut self, now: Time) {
        let Some(replicas) = &mut self.replicas else { return };
        let (late, expired, due) = (replicas.late(now), replicas.expire(now), replicas.due(now));
        self.forget(&expired);
        for (app, request) in late {
            if self.is_first(&app) {
                self.reject(&app, Refusal::TooLate(request.origin), request);
            } else {
                self.forget(&[request]);
            }
        }
        for (app, request) in due {
            self.admit(&app, request, now);
        }
    }
}
