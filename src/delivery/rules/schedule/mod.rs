//! Coverage, joining, turns and repetition, as a pure state machine: the time comes from outside.
//!
//! A transfer publishes its chunks at *positions* 0, 1, 2 …; position `p` carries chunk `p % total_chunks`. A request
//! that arrives when the next position is `p` is covered once positions `p` to `p + total_chunks - 1` are acknowledged:
//! it joins the running transfer, which goes around until its latest request is covered. So a late joiner costs the
//! prefix it missed and not a second transfer.
//!
//! Then the transfer rests. It is repeated from there if two of its requests may have come from two tasks of one device
//! (the first of which takes the module away from the other), and after the broker was lost, which may have forgotten
//! what it had acknowledged.

mod pass;
mod transfer;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use self::pass::Pass;
use self::transfer::{Stage, Transfer};
use super::budget::Budgets;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// Wait before a repetition for a second task of one device: tasks look for their module every 5 s.
const ECHO_DELAY: Duration = Duration::from_secs(6);
/// Repetitions for further tasks of one device.
const MAX_ECHOES: u32 = 3;
/// Times that a module is sent, above which it is repeated for such tasks no more than once.
const MAX_ECHOED_PASSES: u64 = 4;
/// How much longer than the broker was away the devices may be. They come back 1, 3, 7, 15, 31 s after the loss: within
/// as long as the outage, and a second.
const RETURN_MARGIN: Duration = Duration::from_millis(1500);
/// Longest wait for devices after the broker is back.
const MAX_RETURN: Duration = Duration::from_secs(33);
/// Size from which the passes of an app are spaced, bytes of module.
const SPACED_SIZE: u64 = 1 << 20;
/// Transfers that are remembered after they were done.
const MAX_RESTING: usize = 4096;

/// What the schedule is bounded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are not yet covered.
    pub open_requests: usize,
    /// Passes a minute of an app of [`SPACED_SIZE`]; two may follow each other at once.
    pub passes_per_minute: NonZeroU32,
    /// Bytes of messages a second and channel.
    pub publish_rate: Option<NonZeroU64>,
    /// Bytes of messages per channel in 360 s beyond the first copy of each app.
    pub repeats: u64,
}

/// Names one transfer among all that this schedule ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(u64);

/// Names a request, for whoever keeps a list of them.
pub type RequestId = u64;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It opened this transfer, whose module is still to be fetched.
    Opened(TransferId),
    /// It joined a transfer.
    Joined {
        /// Which.
        transfer: TransferId,
        /// The requests that are open with it.
        requests: usize,
    },
}

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// [`Limits::open_requests`].
    Requests,
    /// [`Limits::repeats`].
    Repeats,
}

/// How a module is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The number of chunks, at least one.
    pub total_chunks: u64,
    /// The size that no message exceeds, bytes.
    pub message_size: u64,
    /// The size of the module, bytes.
    pub module_size: u64,
}

/// What becomes of a transfer whose module is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is sent.
    Sending,
    /// Nobody waits for it any more: it was given up, or a newer transfer took over.
    Gone,
    /// It would be too much.
    Refused(Excess),
}

/// A chunk that is to be published now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<T> {
    /// The transfer it belongs to.
    pub id: TransferId,
    /// Its position in the transfer.
    pub position: u64,
    /// The chunk to publish.
    pub index: u64,
    /// What the transfer was started with.
    pub load: T,
}

/// What an acknowledgement brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered<T> {
    /// What the transfer was started with.
    pub load: T,
    /// The requests that are now covered.
    pub requests: Vec<RequestId>,
    /// How many requests the transfer has served by now.
    pub served: u64,
    /// Whether that was the last of it.
    pub is_complete: bool,
}

/// All open transfers and whose turn it is. `T` is whatever the owner needs at hand to send a chunk.
#[derive(Debug)]
pub struct Schedule<T> {
    limits: Limits,
    budgets: Budgets,
    transfers: HashMap<TransferId, Transfer<T>>,
    by_app: HashMap<App, TransferId>,
    /// The transfers that have a chunk to send, each once, next one first.
    turns: VecDeque<TransferId>,
    /// When something is to be done about a transfer.
    alarms: BTreeSet<(Time, TransferId)>,
    opened: u64,
    open_requests: usize,
    /// When the devices lost the broker last, and until when some may not have found it again.
    lost_at: Time,
    back_by: Time,
}

impl<T: Clone> Schedule<T> {
    /// A schedule without transfers.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            budgets: Budgets::new(limits.publish_rate, limits.repeats),
            limits,
            transfers: HashMap::new(),
            by_app: HashMap::new(),
            turns: VecDeque::new(),
            alarms: BTreeSet::new(),
            opened: 0,
            open_requests: 0,
            lost_at: Time::default(),
            back_by: Time::default(),
        }
    }

    /// Takes in a request that arrived at `arrived`: it opens a transfer or joins the open one.
    ///
    /// # Errors
    /// [`Excess`] if it is turned away.
    pub fn request(&mut self, app: &App, request: RequestId, arrived: Time, now: Time) -> Result<Admission, Excess> {
        if self.open_requests >= self.limits.open_requests {
            return Err(Excess::Requests);
        }
        let known = self.by_app.get(app).copied();
        if let Some(id) = known
            && let Some(transfer) = self.transfers.get_mut(&id)
            && transfer.is_open()
        {
            let mut from = 0;
            if let Stage::Sending { pass, message_size, .. } = &mut transfer.stage {
                let extra = pass.extra() * *message_size;
                if !self.budgets.repeat(&app.channel, extra, now) {
                    return Err(Excess::Repeats);
                }
                if !pass.has_turn() && extra > 0 {
                    self.turns.push_back(id);
                }
                pass.extend();
                from = pass.next;
            }
            transfer.open.push_back((request, from));
            transfer.latest = transfer.latest.max(arrived);
            transfer.echoes = MAX_ECHOES.min(transfer.echoes + 1);
            transfer.is_echoed = false;
            self.open_requests += 1;
            return Ok(Admission::Joined { transfer: id, requests: transfer.open.len() });
        }
        // What rests or is repeated has the module as it was; who asks now gets it as it is.
        let before = known.and_then(|id| self.remove(id));
        let id = TransferId(self.opened);
        self.opened += 1;
        self.open_requests += 1;
        self.by_app.insert(app.clone(), id);
        let mut transfer = Transfer {
            app: app.clone(),
            stage: Stage::Fetching,
            is_repeat: false,
            open: [(request, 0)].into(),
            served: 0,
            latest: arrived,
            echoes: 0,
            is_echo: false,
            is_echoed: false,
            passes: 0,
            echo_at: None,
            again_at: None,
            paced_until: Time::default(),
            alarm: None,
        };
        if let Some(before) = before {
            transfer.latest = before.latest.max(arrived);
            (transfer.echoes, transfer.again_at) = (before.echoes, before.again_at);
            transfer.paced_until = before.paced_until;
        }
        let again_at = transfer.again_at;
        self.transfers.insert(id, transfer);
        self.set_alarm(id, again_at);
        Ok(Admission::Opened(id))
    }

    /// Starts sending: the module of `id` is there.
    pub fn start(&mut self, id: TransferId, cut: Cut, load: T, now: Time) -> Start {
        let Cut { total_chunks, message_size, module_size } = cut;
        let Some(transfer) = self.transfers.get_mut(&id) else { return Start::Gone };
        if !matches!(transfer.stage, Stage::Fetching) {
            return Start::Gone;
        }
        if !self.budgets.copy(&transfer.app, total_chunks * message_size, now) {
            return Start::Refused(Excess::Repeats);
        }
        let is_spaced = module_size >= SPACED_SIZE;
        transfer.stage = Stage::Sending { pass: Pass::new(total_chunks), load, message_size, is_spaced };
        self.turns.push_back(id);
        Start::Sending
    }

    /// Takes the next chunk to publish; the transfers take turns chunk by chunk.
    pub fn next_turn(&mut self, now: Time) -> Option<Turn<T>> {
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front()?;
            let Some(transfer) = self.transfers.get_mut(&id) else { continue };
            if self.budgets.free_at(&transfer.app.channel) > now {
                self.turns.push_back(id);
                continue;
            }
            if let Some(until) = transfer.held_until(now, self.limits.passes_per_minute) {
                let alarm = transfer.again_at.map_or(until, |again_at| again_at.min(until));
                self.set_alarm(id, Some(alarm));
                continue;
            }
            let Stage::Sending { pass, load, message_size, .. } = &mut transfer.stage else { continue };
            let Some(position) = pass.take() else { continue };
            let (turn, message_size) =
                (Turn { id, position, index: position % pass.total_chunks, load: load.clone() }, *message_size);
            if pass.has_turn() {
                self.turns.push_back(id);
            }
            self.budgets.publish(&transfer.app.channel, message_size, now);
            return Some(turn);
        }
        None
    }

    /// The broker acknowledged a position. Tells which requests that covered, if any.
    pub fn acknowledged(&mut self, id: TransferId, position: u64, now: Time) -> Option<Covered<T>> {
        let transfer = self.transfers.get_mut(&id)?;
        let Stage::Sending { pass, load, .. } = &mut transfer.stage else { return None };
        pass.acknowledge(position);
        if transfer.again_at.is_some() {
            // Not everybody is back who is to hear it.
            return None;
        }
        let (floor, total_chunks) = (pass.floor(), pass.total_chunks);
        let (load, is_complete) = (load.clone(), pass.is_complete());
        let is_covered = |(_, from): &&(RequestId, u64)| from + total_chunks <= floor;
        let count = transfer.open.iter().take_while(is_covered).count();
        let requests: Vec<_> = transfer.open.drain(..count).map(|(request, _)| request).collect();
        transfer.served += requests.len() as u64;
        self.open_requests -= requests.len();
        let served = transfer.served;
        if is_complete {
            self.rest(id, now);
        }
        (is_complete || !requests.is_empty()).then_some(Covered { load, requests, served, is_complete })
    }

    /// The open requests whose first chunk this position is.
    pub fn begun_at(&self, id: TransferId, position: u64) -> impl Iterator<Item = RequestId> {
        self.transfers.get(&id).into_iter().flat_map(move |transfer| transfer.begun_at(position))
    }

    /// How many requests are not covered.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.open_requests
    }

    /// A position will not be acknowledged; it is sent again.
    pub fn lost(&mut self, id: TransferId, position: u64) {
        if let Some(Transfer { stage: Stage::Sending { pass, .. }, .. }) = self.transfers.get_mut(&id)
            && pass.lose(position)
            && !self.turns.contains(&id)
        {
            self.turns.push_back(id);
        }
    }

    /// Gives a transfer up; returns its open requests.
    pub fn abandon(&mut self, id: TransferId) -> Vec<RequestId> {
        let transfer = self.remove(id);
        transfer.map(|transfer| transfer.open.into_iter().map(|(request, _)| request).collect()).unwrap_or_default()
    }

    /// Takes a request back, and gives its transfer up if nobody wants that: returns it then. Devices want one that was for
    /// them, even if they are covered: it may have to be repeated.
    pub fn withdraw(&mut self, request: RequestId) -> Option<TransferId> {
        let is_it = |(id, _): &(RequestId, u64)| *id == request;
        let (id, transfer) = self.transfers.iter_mut().find(|(_, transfer)| transfer.open.iter().any(is_it))?;
        transfer.open.retain(|open| !is_it(open));
        self.open_requests -= 1;
        if !transfer.open.is_empty() {
            transfer.echoes = transfer.echoes.saturating_sub(1);
        }
        let is_wanted =
            !transfer.open.is_empty() || transfer.served > 0 || transfer.echoes > 0 || transfer.again_at.is_some();
        let id = (!is_wanted).then_some(*id)?;
        self.remove(id);
        Some(id)
    }

    /// The broker is back after `outage`: whatever was asked for within [`TASK_TIMEOUT`] is covered again when the
    /// devices are back as well. Returns how many transfers that concerns.
    pub fn recover(&mut self, outage: Duration, now: Time) -> usize {
        let lost_at = now - outage;
        if lost_at >= self.back_by {
            self.lost_at = lost_at;
        }
        // Whoever was not back yet counts its tries from the first loss.
        let again_at = now + (now.since(self.lost_at) + RETURN_MARGIN).min(MAX_RETURN);
        self.back_by = again_at;
        let young: Vec<_> = self
            .transfers
            .iter_mut()
            .filter(|(_, transfer)| again_at.since(transfer.latest) < TASK_TIMEOUT)
            .map(|(id, transfer)| {
                transfer.again_at = Some(again_at);
                (*id, transfer.alarm.map_or(again_at, |alarm| alarm.min(again_at)))
            })
            .collect();
        for &(id, alarm) in &young {
            self.set_alarm(id, Some(alarm));
        }
        young.len()
    }

    /// When [`Schedule::wake`] has something to do.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|(time, _)| *time)
    }

    /// When a channel that has had its share, and for which there is a turn, may get its next message.
    #[must_use]
    pub fn free_at(&self) -> Option<Time> {
        let waiting = self.turns.iter().filter_map(|id| self.transfers.get(id));
        waiting.map(|transfer| self.budgets.free_at(&transfer.app.channel)).min()
    }

    /// Does what is due, and returns the transfers that are to be repeated: their module is to be brought again.
    pub fn wake(&mut self, now: Time) -> Vec<(TransferId, App)> {
        let mut repeats = Vec::new();
        while let Some(&(time, id)) = self.alarms.first()
            && time <= now
        {
            self.set_alarm(id, None);
            let Some(transfer) = self.transfers.get_mut(&id) else { continue };
            let again = transfer.again_at.take_if(|at| *at <= now).is_some();
            match &mut transfer.stage {
                Stage::Fetching => {}
                Stage::Sending { pass, message_size, .. } => {
                    if again {
                        // What was lost is no repetition that could be refused.
                        self.budgets.repeat(&transfer.app.channel, pass.extra() * *message_size, now);
                        pass.extend();
                        transfer.open.iter_mut().for_each(|(_, from)| *from = pass.next);
                    }
                    if pass.has_turn() && !self.turns.contains(&id) {
                        self.turns.push_back(id);
                    }
                }
                Stage::Resting => {
                    let echo = transfer.echo_at.take_if(|at| *at <= now).is_some();
                    if now.since(transfer.latest) >= TASK_TIMEOUT {
                        self.remove(id);
                        continue;
                    }
                    if again || echo {
                        (transfer.stage, transfer.is_repeat, transfer.echo_at) = (Stage::Fetching, true, None);
                        transfer.is_echo = echo;
                        repeats.push((id, transfer.app.clone()));
                    }
                }
            }
            let alarm = transfer.next_alarm();
            self.set_alarm(id, alarm);
        }
        repeats
    }

    /// Whether requests for `app` are open here.
    #[must_use]
    pub fn is_open(&self, app: &App) -> bool {
        self.by_app.get(app).and_then(|id| self.transfers.get(id)).is_some_and(Transfer::is_open)
    }

    /// What the transfer of `app` was started with, if it is being sent.
    #[must_use]
    pub fn load(&self, app: &App) -> Option<&T> {
        match &self.transfers.get(self.by_app.get(app)?)?.stage {
            Stage::Sending { load, .. } => Some(load),
            Stage::Fetching | Stage::Resting => None,
        }
    }

    /// The apps with open requests.
    pub fn open_apps(&self) -> impl Iterator<Item = &App> {
        self.transfers.values().filter(|transfer| transfer.is_open()).map(|transfer| &transfer.app)
    }

    /// A transfer has covered everybody.
    fn rest(&mut self, id: TransferId, now: Time) {
        let is_full = self.transfers.len() > MAX_RESTING + self.open_requests;
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
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
            && echo_at.since(transfer.latest) < TASK_TIMEOUT;
        transfer.echo_at = is_due.then_some(echo_at);
        let alarm = transfer.next_alarm();
        if is_full {
            self.remove(id);
        } else {
            self.set_alarm(id, alarm);
        }
    }

    fn set_alarm(&mut self, id: TransferId, time: Option<Time>) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        let old = std::mem::replace(&mut transfer.alarm, time);
        old.map(|old| self.alarms.remove(&(old, id)));
        time.map(|time| self.alarms.insert((time, id)));
    }

    fn remove(&mut self, id: TransferId) -> Option<Transfer<T>> {
        self.set_alarm(id, None);
        let transfer = self.transfers.remove(&id)?;
        self.open_requests -= transfer.open.len();
        self.by_app.remove(&transfer.app);
        self.turns.retain(|turn| *turn != id);
        Some(transfer)
    }
}

#[cfg(test)]
mod tests;
