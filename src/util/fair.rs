//! Bounds that several parties share: none of them takes what another one needs.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::util::sync::lock;

/// How many times what is left a party may hold: alone, eight ninths of all.
const SHARE: usize = 8;

/// Who shares a bound with others: the channel of a device, or all callers without one.
pub type Party = Arc<str>;

/// Places that parties hold at the same time, fewer the fewer are left: whoever comes to those that took all they could finds
/// some.
#[derive(Debug)]
pub(crate) struct Portions<K> {
    limit: usize,
    total: usize,
    held: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash> Portions<K> {
    /// So many places.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, total: 0, held: HashMap::new() }
    }

    /// Whether this party may hold one more.
    pub(crate) fn has_room(&self, party: &K) -> bool {
        let left = self.limit.saturating_sub(self.total);
        self.held.get(party).copied().unwrap_or(0) < left.saturating_mul(SHARE)
    }

    /// Takes a place, if there is one for this party; whether it did.
    pub(crate) fn take(&mut self, party: &K) -> bool {
        let has_room = self.has_room(party);
        if has_room {
            self.add(party, 1);
        }
        has_room
    }

    /// Takes places, whether there are as many or not.
    pub(crate) fn add(&mut self, party: &K, count: usize) {
        if count == 0 {
            return;
        }
        self.total += count;
        *self.held.entry(party.clone()).or_default() += count;
    }

    /// Gives places back.
    pub(crate) fn give_back(&mut self, party: &K, count: usize) {
        if let Some(held) = self.held.get_mut(party) {
            let count = count.min(*held);
            *held -= count;
            self.total -= count;
            if *held == 0 {
                self.held.remove(party);
            }
        }
    }

    /// How many places are taken.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

/// A semaphore whose permits go in turns to the parties that wait, one at a time. A party that has none need not wait for what
/// others hold: there is a number of spare permits for those.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    permits: usize,
    spare: usize,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// Permits that are held, by party and in all. No party is here that has none.
    held: HashMap<Party, usize>,
    total: usize,
    /// Who waits, by party, the next one first. No queue is empty.
    waiting: VecDeque<(Party, VecDeque<oneshot::Sender<Permit>>)>,
}

/// A permit of a semaphore, to which it returns when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Option<(Arc<FairSemaphore>, Party)>);

impl FairSemaphore {
    /// A semaphore of so many permits, and so many `spare` ones, each for a party that has no other.
    pub(crate) fn new(permits: usize, spare: usize) -> Arc<Self> {
        Arc::new(Self { permits, spare, turns: Mutex::default() })
    }

    /// How many permits are free, spare ones excluded.
    pub(crate) fn free(&self) -> usize {
        self.permits.saturating_sub(lock(&self.turns).total)
    }

    /// Takes a permit if there is one for this party.
    pub(crate) fn try_acquire(self: &Arc<Self>, party: &Party) -> Option<Permit> {
        let mut turns = lock(&self.turns);
        self.permits_one(&turns, party).then(|| self.grant(&mut turns, party))
    }

    /// Waits for a permit. May be dropped.
    pub(crate) async fn acquire(self: &Arc<Self>, party: &Party) -> Permit {
        loop {
            let permit = {
                let mut turns = lock(&self.turns);
                if self.permits_one(&turns, party) {
                    return self.grant(&mut turns, party);
                }
                turns.queue(party)
            };
            // If this is dropped when the permit was sent, the channel drops that.
            if let Ok(permit) = permit.await {
                return permit;
            }
        }
    }

    /// Whether this party may have one more permit now.
    fn permits_one(&self, turns: &Turns, party: &Party) -> bool {
        let has_none = !turns.held.contains_key(party);
        turns.total < self.permits || has_none && turns.total < self.permits + self.spare
    }

    fn grant(self: &Arc<Self>, turns: &mut Turns, party: &Party) -> Permit {
        turns.total += 1;
        *turns.held.entry(Arc::clone(party)).or_default() += 1;
        Permit(Some((Arc::clone(self), Arc::clone(party))))
    }

    /// Takes a permit back, and gives it to the next party that may have it.
    fn release(self: &Arc<Self>, party: &Party) {
        let mut turns = lock(&self.turns);
        turns.give_back(party);
        while let Some(index) = turns.waiting.iter().position(|(party, _)| self.permits_one(&turns, party)) {
            let Some((party, next)) = turns.next(index) else { continue };
            let permit = self.grant(&mut turns, &party);
            let Err(mut unused) = next.send(permit) else { return };
            // That one does not wait any more.
            unused.0 = None;
            turns.give_back(&party);
        }
    }
}

impl Turns {
    fn queue(&mut self, party: &Party) -> oneshot::Receiver<Permit> {
        let (sender, permit) = oneshot::channel();
        match self.waiting.iter_mut().find(|(waiting, _)| waiting == party) {
            Some((_, queue)) => queue.push_back(sender),
            None => self.waiting.push_back((Arc::clone(party), [sender].into())),
        }
        permit
    }

    /// The first who waits of the party at `index`, which goes to the end.
    fn next(&mut self, index: usize) -> Option<(Party, oneshot::Sender<Permit>)> {
        let (party, mut queue) = self.waiting.remove(index)?;
        let next = queue.pop_front()?;
        if !queue.is_empty() {
            self.waiting.push_back((Arc::clone(&party), queue));
        }
        Some((party, next))
    }

    fn give_back(&mut self, party: &Party) {
        self.total -= 1;
        if let Some(held) = self.held.get_mut(party) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(party);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((semaphore, party)) = self.0.take() {
            semaphore.release(&party);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn parties_that_come_late_find_room() {
        let mut portions = Portions::new(1024);
        let mut fill = |party| (0..2000).filter(|_| portions.take(&party)).count();
        assert_eq!((fill(0), fill(1), fill(2)), (911, 101, 11));
        portions.give_back(&0, 1000);
        assert_eq!((portions.held.get(&0), portions.total()), (None, 112));
        assert!(portions.take(&3));
        let mut small = Portions::new(1);
        assert!(small.take(&"one") && !small.take(&"one") && !small.take(&"other"));
    }

    #[tokio::test]
    async fn permits_go_in_turns() {
        let semaphore = FairSemaphore::new(1, 0);
        let [many, few]: [Party; 2] = ["many".into(), "few".into()];
        let order = Mutex::new(Vec::new());
        let wait = async |party: &Party| {
            let _permit = semaphore.acquire(party).await;
            lock(&order).push(Arc::clone(party));
        };
        let held = semaphore.acquire(&many).await;
        let mut waiting: FuturesUnordered<_> =
            (0..100).map(|_| wait(&many)).chain((0..2).map(|_| wait(&few))).collect();
        assert!(waiting.next().now_or_never().is_none());
        drop(held);
        while waiting.next().await.is_some() {}
        drop(waiting);
        let turns: Vec<_> =
            lock(&order).iter().enumerate().filter(|(_, party)| **party == few).map(|(turn, _)| turn).collect();
        assert_eq!(turns, [1, 3]);
    }

    #[tokio::test]
    async fn a_party_without_any_waits_for_no_other() {
        let semaphore = FairSemaphore::new(2, 2);
        let [many, few, late]: [Party; 3] = ["many".into(), "few".into(), "late".into()];
        let take = |party| semaphore.try_acquire(party);
        let held = [take(&many), take(&many)];
        assert!(take(&many).is_none());
        let (one, two) = (take(&few), take(&late));
        assert!(held.iter().flatten().count() == 2 && one.is_some() && two.is_some());
        assert!(take(&few).is_none() && take(&"last".into()).is_none());
        // What is given back is first of all that of the others.
        let mut waits = Box::pin(semaphore.acquire(&few));
        assert!((&mut waits).now_or_never().is_none());
        drop(two);
        assert!((&mut waits).now_or_never().is_none(), "there are three");
        drop(one);
        assert!((&mut waits).now_or_never().is_some(), "it has none now");
        drop(held);
        assert_eq!(semaphore.free(), 2);
    }

    #[tokio::test]
    async fn a_permit_is_never_lost() {
        let semaphore = FairSemaphore::new(2, 0);
        let party: Party = "party".into();
        let (one, two) = (semaphore.acquire(&party).await, semaphore.acquire(&party).await);
        let mut gone = Box::pin(semaphore.acquire(&party));
        let mut granted = Box::pin(semaphore.acquire(&party));
        let mut last = Box::pin(semaphore.acquire(&party));
        for waiting in [&mut gone, &mut granted, &mut last] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(gone);
        drop(one);
        // It was given the permit, and does not take it.
        drop(granted);
        let last = last.await;
        drop((last, two));
        assert_eq!(semaphore.free(), 2);
        assert!(semaphore.try_acquire(&party).is_some());
    }
}
