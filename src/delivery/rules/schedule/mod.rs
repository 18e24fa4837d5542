//! Coverage, joining, turns and repeats, as a pure state machine: the time comes from outside.
//!
//! A transfer publishes its chunks at *positions* 0, 1, 2 …; position `p` carries chunk `p % total_chunks`. A request
//! that arrives when the next position is `p` is covered once positions `p` to `p + total_chunks - 1` are acknowledged:
//! it joins the running transfer, which goes around until its latest request is covered. So a late request costs the
//! prefix that it missed and not a second transfer.
//!
//! Then the transfer rests. It is repeated from there if two of its requests may have come from two tasks of one device
//! (the first of which takes the module away from the other), and after the broker was lost, which may have lost what it
//! had acknowledged.

mod again;
mod turns;
mod types;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use self::turns::Turns;
pub use self::types::{Admission, Covered, Limits, TransferId, Turn};
use super::budget::Budgets;
use super::pass::Pass;
use super::request::{Refusal, Request, RequestId};
use super::rule::{Rule, holds};
use super::transfer::{Purpose, Stage, Transfer};
use super::versions::Version;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::{App, Channel};
use crate::util::clock::Time;
use crate::util::fair::Portions;

/// The wait before a repeat for a second task of one device: tasks look for their module every 5 s.
#[doc(alias = "bound")]
const ECHO_DELAY: Duration = Duration::from_secs(6);
/// Repeats for further tasks of one device.
#[doc(alias = "bound")]
const MAX_ECHOES: u32 = 3;
/// Passes of a module, above which it is repeated for such tasks no more than once.
#[doc(alias = "bound")]
const MAX_ECHOED_PASSES: u64 = 4;
/// Size of a module from which its passes are spaced, bytes.
#[doc(alias = "bound")]
const SPACED_SIZE: u64 = 1 << 20;
/// Transfers that are kept after every request was covered, to be repeated.
#[doc(alias = "bound")]
const MAX_KEPT: usize = 4096;

/// All open transfers, and which one has the next turn.
#[derive(Debug)]
pub(super) struct Schedule<W> {
    limits: Limits,
    budgets: Budgets,
    transfers: HashMap<TransferId, Transfer<W>>,
    by_app: HashMap<App, TransferId>,
    turns: Turns,
    /// When a transfer needs attention.
    alarms: BTreeSet<(Time, TransferId)>,
    opened: u64,
    /// Requests that are not covered, and transfers that are kept without any, by channel.
    open_requests: Portions<Arc<Channel>>,
    kept: Portions<Arc<Channel>>,
    /// When the devices lost the broker last, and until when some may be without it.
    lost_at: Time,
    back_by: Time,
}

impl<W> Schedule<W> {
    /// A schedule without transfers.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            budgets: Budgets::new(limits.publish_rate, limits.repeats),
            limits,
            transfers: HashMap::new(),
            by_app: HashMap::new(),
            turns: Turns::default(),
            alarms: BTreeSet::new(),
            opened: 0,
            open_requests: Portions::new(limits.open_requests),
            kept: Portions::new(MAX_KEPT),
            lost_at: Time::default(),
            back_by: Time::default(),
        }
    }

    /// Admits a request: it opens a transfer for `purpose`, or joins the open one.
    ///
    /// # Errors
    /// Why it is rejected, and the request.
    pub(super) fn admit(
        &mut self,
        app: &App,
        mut request: Request<W>,
        purpose: Purpose,
        now: Time,
    ) -> Result<Admission, (Refusal, Request<W>)> {
        if !self.open_requests.has_room(&app.channel) {
            return Err((Refusal::OpenRequests, request));
        }
        let known = self.by_app.get(app).copied();
        if let Some(id) = known
            && let Some(transfer) = self.transfers.get_mut(&id)
            && transfer.is_open()
        {
            if let Stage::Sending { pass, message_size, .. } = &mut transfer.stage {
                let extra = pass.extra() * *message_size;
                if !self.budgets.repeat(&app.channel, extra, now) {
                    return Err((Refusal::Repeats, request));
                }
                if extra > 0 {
                    self.turns.push(&app.channel, id);
                }
                pass.extend();
                request.from = if holds(Rule::Coverage) { pass.next } else { 0 };
            }
            transfer.last_arrival = transfer.last_arrival.max(request.arrived);
            transfer.requests.push_back(request);
            transfer.echoes = MAX_ECHOES.min(transfer.echoes + 1);
            transfer.is_echoed = false;
            self.open_requests.add(&app.channel, 1);
            return Ok(Admission::Joined { transfer: id, requests: transfer.requests.len() });
        }
        // What rests or is repeated is the module as it was; a new request gets it as it is.
        let before = known.and_then(|id| self.remove(id));
        let is_repeat = before.as_ref().is_some_and(|before| !matches!(before.stage, Stage::Resting));
        let id = TransferId(self.opened);
        self.opened += 1;
        self.open_requests.add(&app.channel, 1);
        self.by_app.insert(app.clone(), id);
        let mut transfer = Transfer::new(app.clone(), purpose, request);
        if let Some(before) = before {
            transfer.last_arrival = transfer.last_arrival.max(before.last_arrival);
            (transfer.echoes, transfer.again_at) = (before.echoes, before.again_at);
            transfer.paced_until = before.paced_until;
        }
        let again_at = transfer.again_at;
        self.transfers.insert(id, transfer);
        self.set_alarm(id, again_at);
        Ok(Admission::Opened { transfer: id, superseded: known.filter(|_| is_repeat) })
    }

    /// Starts sending a transfer that is being prepared.
    ///
    /// # Errors
    /// Why it must not be sent.
    pub(super) fn start(
        &mut self,
        id: TransferId,
        Version { digest, plan, .. }: &Version,
        message_size: u64,
        now: Time,
    ) -> Result<(), Refusal> {
        let Some(transfer) = self.transfers.get_mut(&id) else { return Ok(()) };
        let is_granted = self.budgets.copy(&transfer.app.channel, *digest, plan.total_chunks() * message_size, now);
        if !is_granted && transfer.restarts == 0 {
            return Err(Refusal::Repeats);
        }
        let (pass, is_spaced) = (Pass::new(plan.total_chunks()), plan.size() >= SPACED_SIZE);
        transfer.stage = Stage::Sending { pass, message_size, is_spaced };
        self.turns.push(&transfer.app.channel, id);
        Ok(())
    }

    /// Takes the next chunk to publish; the channels take turns chunk by chunk, and the transfers of each do.
    pub(super) fn next_turn(&mut self, now: Time) -> Option<Turn> {
        loop {
            let id = self.turns.next(|channel| self.budgets.free_at(channel) <= now)?;
            let Some(transfer) = self.transfers.get_mut(&id) else { continue };
            if let Some(until) = transfer.held_until(now, self.limits.passes_per_minute) {
                let alarm = transfer.again_at.map_or(until, |again_at| again_at.min(until));
                self.set_alarm(id, Some(alarm));
                continue;
            }
            let Stage::Sending { pass, message_size, .. } = &mut transfer.stage else { continue };
            let Some(position) = pass.take() else { continue };
            let turn = Turn { transfer: id, position, index: position % pass.total_chunks };
            if pass.has_turn() {
                self.turns.push(&transfer.app.channel, id);
            }
            self.budgets.publish(&transfer.app.channel, *message_size, now);
            return Some(turn);
        }
    }

    /// The broker acknowledged the chunk of `turn`.
    pub(super) fn acknowledged(&mut self, turn: &Turn, now: Time) -> Option<Covered<W>> {
        let transfer = self.transfers.get_mut(&turn.transfer)?;
        let Stage::Sending { pass, .. } = &mut transfer.stage else { return None };
        pass.acknowledge(turn.position);
        let first = transfer.requests.partition_point(|request| request.from < turn.position);
        let waits = transfer.requests.range_mut(first..).take_while(|request| request.from == turn.position);
        let first_chunks: Vec<_> = waits.filter_map(|request| request.acknowledged(turn.position, now)).collect();
        if transfer.again_at.is_some() {
            // Some devices are not back yet.
            return Some(Covered { first_chunks, requests: Vec::new(), served: transfer.served, is_complete: false });
        }
        let (floor, total_chunks, is_complete) = (pass.floor(), pass.total_chunks, pass.is_complete());
        let is_covered = |request: &&Request<W>| request.from + total_chunks <= floor;
        let count = transfer.requests.iter().take_while(is_covered).count();
        let requests: Vec<_> = transfer.requests.drain(..count).collect();
        transfer.served += requests.len() as u64;
        self.open_requests.give_back(&transfer.app.channel, requests.len());
        let served = transfer.served;
        if is_complete {
            self.rest(turn.transfer, now);
        }
        Some(Covered { first_chunks, requests, served, is_complete })
    }

    /// Removes the request; returns it, and its transfer if nobody needs that any more. Devices need one that served them,
    /// even if they are covered: it may have to be repeated.
    pub(super) fn withdraw(&mut self, request: RequestId) -> Option<(Request<W>, Option<TransferId>)> {
        let (&id, transfer, index) = self.transfers.iter_mut().find_map(|(id, transfer)| {
            let index = transfer.requests.iter().position(|open| open.id == request)?;
            Some((id, transfer, index))
        })?;
        let request = transfer.requests.remove(index)?;
        self.open_requests.give_back(&transfer.app.channel, 1);
        if !transfer.requests.is_empty() {
            transfer.echoes = transfer.echoes.saturating_sub(1);
        }
        let is_needed =
            !transfer.requests.is_empty() || transfer.served > 0 || transfer.echoes > 0 || transfer.again_at.is_some();
        Some((request, (!is_needed).then_some(id)))
    }

    /// When [`Schedule::wake`] has something to do.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|(time, _)| *time)
    }

    /// When the publish rate of a channel permits a chunk that waits for it.
    pub(super) fn next_turn_at(&self) -> Option<Time> {
        self.turns.channels().map(|channel| self.budgets.free_at(channel)).min()
    }

    /// Does what is due; returns the transfers that are repeated: their module is fetched again.
    pub(super) fn wake(&mut self, now: Time) -> Vec<TransferId> {
        let mut repeats = Vec::new();
        while let Some(&(time, id)) = self.alarms.first()
            && time <= now
        {
            self.set_alarm(id, None);
            let Some(transfer) = self.transfers.get_mut(&id) else { continue };
            let is_again = transfer.again_at.take_if(|at| *at <= now).is_some();
            match &mut transfer.stage {
                Stage::Sending { pass, message_size, .. } => {
                    if is_again {
                        // What was lost is no repeat that could be rejected.
                        self.budgets.repeat(&transfer.app.channel, pass.extra() * *message_size, now);
                        pass.extend();
                        transfer.requests.iter_mut().for_each(|request| request.from = pass.next);
                    }
                    if pass.has_turn() {
                        self.turns.push(&transfer.app.channel, id);
                    }
                }
                Stage::Resting => {
                    let is_echo = transfer.echo_at.take_if(|at| *at <= now).is_some();
                    if now.since(transfer.last_arrival) >= TASK_TIMEOUT {
                        self.remove(id);
                        continue;
                    }
                    if is_again || is_echo {
                        (transfer.stage, transfer.purpose) = (Stage::Fetching, Purpose::Repeat);
                        (transfer.echo_at, transfer.is_echo) = (None, is_echo);
                        repeats.push(id);
                    }
                }
                Stage::Fetching | Stage::Persisting(_) | Stage::Claiming(..) | Stage::Contested(..) => {}
            }
            let alarm = transfer.next_alarm();
            self.set_alarm(id, alarm);
        }
        repeats
    }

    pub(super) fn get(&self, id: TransferId) -> Option<&Transfer<W>> {
        self.transfers.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: TransferId) -> Option<&mut Transfer<W>> {
        self.transfers.get_mut(&id)
    }

    /// The open transfer of `app`.
    pub(super) fn open(&self, app: &App) -> Option<TransferId> {
        let id = *self.by_app.get(app)?;
        self.transfers.get(&id)?.is_open().then_some(id)
    }

    /// The transfers, resting ones included.
    pub(super) fn transfers(&self) -> impl Iterator<Item = (TransferId, &Transfer<W>)> {
        self.transfers.iter().map(|(id, transfer)| (*id, transfer))
    }

    /// The same, to change them.
    pub(super) fn transfers_mut(&mut self) -> impl Iterator<Item = &mut Transfer<W>> {
        self.transfers.values_mut()
    }

    /// How many requests are not covered.
    pub(super) fn open_requests(&self) -> usize {
        self.open_requests.total()
    }

    /// Every request of a transfer is covered.
    fn rest(&mut self, id: TransferId, now: Time) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        // A repeat is kept since it first rested.
        if transfer.is_open() && !self.kept.take(&transfer.app.channel) {
            self.remove(id);
            return;
        }
        if let Stage::Sending { pass, .. } = &transfer.stage {
            transfer.passes += pass.end.div_ceil(pass.total_chunks);
        }
        (transfer.stage, transfer.served) = (Stage::Resting, 0);
        if std::mem::take(&mut transfer.is_echo) {
            transfer.echoes = transfer.echoes.saturating_sub(1);
            transfer.is_echoed = true;
        }
        let echo_at = now + ECHO_DELAY;
        let is_due = transfer.echoes > 0
            && (transfer.passes < MAX_ECHOED_PASSES || !transfer.is_echoed)
            && echo_at.since(transfer.last_arrival) < TASK_TIMEOUT
            && holds(Rule::Echo);
        transfer.echo_at = is_due.then_some(echo_at);
        let alarm = transfer.next_alarm();
        self.set_alarm(id, alarm);
    }

    fn set_alarm(&mut self, id: TransferId, time: Option<Time>) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        let old = std::mem::replace(&mut transfer.alarm, time);
        old.map(|old| self.alarms.remove(&(old, id)));
        time.map(|time| self.alarms.insert((time, id)));
    }

    /// Counts a transfer that comes back.
    fn count(&mut self, transfer: &Transfer<W>) {
        self.open_requests.add(&transfer.app.channel, transfer.requests.len());
        if !transfer.is_open() {
            self.kept.add(&transfer.app.channel, 1);
        }
    }

    /// Removes a transfer, with its open requests.
    pub(super) fn remove(&mut self, id: TransferId) -> Option<Transfer<W>> {
        self.set_alarm(id, None);
        let transfer = self.transfers.remove(&id)?;
        self.open_requests.give_back(&transfer.app.channel, transfer.requests.len());
        if !transfer.is_open() {
            self.kept.give_back(&transfer.app.channel, 1);
        }
        self.by_app.remove(&transfer.app);
        self.turns.remove(&transfer.app.channel, id);
        Some(transfer)
    }
}

#[cfg(test)]
mod tests;
