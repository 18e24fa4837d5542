//! Coverage, joining and turns, as a pure state machine.
//!
//! A transfer publishes its chunks at *positions* 0, 1, 2 …; position `p` carries chunk `p % total_chunks`. A request
//! that arrives when the next position is `p` is covered once positions `p` to `p + total_chunks - 1` are acknowledged:
//! it joins the running pass, which goes around until its latest request is covered. So a late joiner costs the prefix
//! it missed and not a second transfer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What makes two requests one transfer: the same name, answered on the same topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// Where the answers go.
    pub topic: Arc<str>,
    /// The module as the devices named it.
    pub app_name: Arc<str>,
}

/// Names one transfer among all that this schedule ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransferId(u64);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It opened this transfer, whose module is still to be fetched.
    Opened(TransferId),
    /// It joined a transfer, which now has this many requests.
    Joined {
        /// Requests of the transfer so far.
        requests: u64,
    },
    /// It was turned away: too many transfers are open.
    Full,
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

/// A transfer that covered all its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed<T> {
    /// What the transfer was started with.
    pub load: T,
    /// How many requests it served.
    pub requests: u64,
    /// How many chunks were published for them and acknowledged.
    pub sent_chunks: u64,
}

/// All open transfers and whose turn it is. `T` is whatever the owner needs at hand to send a chunk.
#[derive(Debug)]
pub struct Schedule<T> {
    transfers: HashMap<TransferId, Transfer<T>>,
    open: HashMap<TransferKey, TransferId>,
    /// The transfers that have a chunk to send, each once, next one first.
    turns: VecDeque<TransferId>,
    opened: u64,
    max_transfers: usize,
}

#[derive(Debug)]
struct Transfer<T> {
    key: TransferKey,
    requests: u64,
    /// `None` while the module is being fetched.
    pass: Option<Pass<T>>,
}

#[derive(Debug)]
struct Pass<T> {
    load: T,
    total_chunks: u64,
    /// The first position not yet sent.
    next: u64,
    /// The position at which every request is covered.
    end: u64,
    in_flight: BTreeSet<u64>,
    /// Positions that were sent, not acknowledged, and must be sent again.
    lost: BTreeSet<u64>,
}

impl<T> Pass<T> {
    fn has_turn(&self) -> bool {
        self.next < self.end || !self.lost.is_empty()
    }

    fn take_position(&mut self) -> Option<u64> {
        let position = self.lost.pop_first().or_else(|| {
            let fresh = (self.next < self.end).then_some(self.next)?;
            self.next += 1;
            Some(fresh)
        })?;
        self.in_flight.insert(position);
        Some(position)
    }
}

impl<T: Clone> Schedule<T> {
    /// A schedule without transfers that admits `max_transfers` at once.
    #[must_use]
    pub fn new(max_transfers: usize) -> Self {
        Self { transfers: HashMap::new(), open: HashMap::new(), turns: VecDeque::new(), opened: 0, max_transfers }
    }

    /// Takes in a request: opens a transfer or joins the open one.
    pub fn request(&mut self, key: &TransferKey) -> Admission {
        if let Some(id) = self.open.get(key)
            && let Some(transfer) = self.transfers.get_mut(id)
        {
            transfer.requests += 1;
            if let Some(pass) = &mut transfer.pass {
                let had_turn = pass.has_turn();
                pass.end = pass.next + pass.total_chunks;
                if !had_turn {
                    self.turns.push_back(*id);
                }
            }
            return Admission::Joined { requests: transfer.requests };
        }
        if self.transfers.len() >= self.max_transfers {
            return Admission::Full;
        }
        let id = TransferId(self.opened);
        self.opened += 1;
        self.open.insert(key.clone(), id);
        self.transfers.insert(id, Transfer { key: key.clone(), requests: 1, pass: None });
        Admission::Opened(id)
    }

    /// Starts sending: the module of `id` is there and has `total_chunks` chunks, at least one.
    pub fn start(&mut self, id: TransferId, total_chunks: u64, load: T) {
        if let Some(transfer) = self.transfers.get_mut(&id) {
            let (in_flight, lost) = Default::default();
            transfer.pass = Some(Pass { load, total_chunks, next: 0, end: total_chunks, in_flight, lost });
            self.turns.push_back(id);
        }
    }

    /// Takes the next chunk to publish; the transfers take turns chunk by chunk.
    pub fn next_turn(&mut self) -> Option<Turn<T>> {
        let id = self.turns.pop_front()?;
        let pass = self.transfers.get_mut(&id)?.pass.as_mut()?;
        let position = pass.take_position()?;
        if pass.has_turn() {
            self.turns.push_back(id);
        }
        Some(Turn { id, position, index: position % pass.total_chunks, load: pass.load.clone() })
    }

    /// The broker acknowledged a position; returns the transfer if that covered its last request.
    pub fn acknowledged(&mut self, id: TransferId, position: u64) -> Option<Completed<T>> {
        let pass = self.transfers.get_mut(&id)?.pass.as_mut()?;
        pass.in_flight.remove(&position);
        if pass.has_turn() || !pass.in_flight.is_empty() {
            return None;
        }
        let Transfer { requests, pass, .. } = self.close(id)?;
        pass.map(|Pass { load, end, .. }| Completed { load, requests, sent_chunks: end })
    }

    /// A position will not be acknowledged; it is sent again.
    pub fn lost(&mut self, id: TransferId, position: u64) {
        if let Some(pass) = self.transfers.get_mut(&id).and_then(|transfer| transfer.pass.as_mut())
            && pass.in_flight.remove(&position)
        {
            if !pass.has_turn() {
                self.turns.push_back(id);
            }
            pass.lost.insert(position);
        }
    }

    /// Gives a transfer and its requests up, if it is open.
    pub fn abandon(&mut self, id: TransferId) {
        self.close(id);
    }

    /// Whether no transfer is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    fn close(&mut self, id: TransferId) -> Option<Transfer<T>> {
        let transfer = self.transfers.remove(&id)?;
        self.open.remove(&transfer.key);
        self.turns.retain(|turn| *turn != id);
        Some(transfer)
    }
}

#[cfg(test)]
mod tests;
