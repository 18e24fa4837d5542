//! The hosts that requests go to: how many requests each gets at once, and which of them rest.
//!
//! Each host has places of its own, so that one that is slow or silent delays no request to another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::error::Error;
use crate::util::fair::{FairSemaphore, Party, Permit};
use crate::util::sync::lock;
use crate::util::ttl_cache::TtlCache;

/// Lookups, and transfers, at once to all hosts together that no setting names.
#[doc(alias = "bound")]
const MAX_UNNAMED: usize = 64;
/// How many times as many places there are beside, each for a party that has none at the host: so one that holds all others with
/// slow downloads keeps nobody waiting.
#[doc(alias = "bound")]
const SPARE: usize = 7;
/// How long a registry gets no requests after it left one, with all its retries, without any answer.
#[doc(alias = "bound")]
const REST: Duration = Duration::from_secs(30);
/// Registries that rest at once.
#[doc(alias = "bound")]
const MAX_RESTING: usize = 1024;

/// The hosts in use.
#[derive(Debug)]
pub(super) struct Peers {
    /// Places of each kind at each host.
    places: usize,
    in_use: Mutex<HashMap<String, Arc<Peer>>>,
    /// What hosts that no setting names share, beside places of their own.
    unnamed: Places,
    resting: TtlCache<String, Instant>,
}

/// A host.
#[derive(Debug)]
pub(super) struct Peer {
    places: Places,
    answers: AtomicU64,
    silences: AtomicU64,
}

/// Places for requests.
#[derive(Debug)]
struct Places {
    lookups: Arc<FairSemaphore>,
    transfers: Arc<FairSemaphore>,
}

/// What a request is for. Slow transfers must not delay what is stored, which may need a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manifest, or its digest.
    Lookup,
    /// A blob, down or up.
    Transfer,
}

/// A place at a host.
pub(super) struct Place {
    _own: Permit,
    _shared: Option<Permit>,
}

/// What a host had answered at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    answers: u64,
    silences: u64,
}

impl Peers {
    /// Hosts with so many places of each kind.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            in_use: Mutex::default(),
            unnamed: Places::new(MAX_UNNAMED),
            resting: TtlCache::new(MAX_RESTING),
        }
    }

    /// The host of this name. All who use it at one time share it.
    pub(super) fn of(&self, host: &str) -> Arc<Peer> {
        let mut in_use = lock(&self.in_use);
        in_use.retain(|_, peer| Arc::strong_count(peer) > 1);
        Arc::clone(in_use.entry(host.to_owned()).or_insert_with(|| Arc::new(Peer::new(self.places))))
    }

    /// Waits for a place at `peer`, which has the name `host`. The parties that wait take turns.
    ///
    /// # Errors
    /// [`Error::RegistryUnreachable`] if it rests.
    pub(super) async fn place(
        &self,
        host: &str,
        is_named: bool,
        peer: &Peer,
        kind: Kind,
        party: &Party,
    ) -> Result<Place, Failure> {
        let own = peer.places.of(kind).acquire(party).await;
        let shared = if is_named { None } else { Some(self.unnamed.of(kind).acquire(party).await) };
        match self.resting.get(&host.to_owned()) {
            None => Ok(Place { _own: own, _shared: shared }),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now()).as_secs() + 1;
                let detail = format!("it was silent, and is not asked again for {left} s");
                Err(Error::RegistryUnreachable { object: host.to_owned(), detail }.into())
            }
        }
    }

    /// The host answered: it does not rest any more.
    pub(super) fn answered(&self, host: &str, peer: &Peer) {
        peer.answers.fetch_add(1, Ordering::Relaxed);
        self.wake(host);
    }

    /// The host is there: it does not rest any more.
    pub(super) fn wake(&self, host: &str) {
        self.resting.remove(&host.to_owned());
    }

    /// A fetch that began at `mark` was given up. The host rests if it was silent, and answered nobody meanwhile.
    pub(super) fn given_up(&self, host: &str, peer: &Peer, mark: Mark) {
        let now = peer.mark();
        if now.answers == mark.answers && now.silences > mark.silences {
            let until = Instant::now() + REST;
            self.resting.insert(host.to_owned(), until, until);
        }
    }
}

impl Peer {
    fn new(places: usize) -> Self {
        Self { places: Places::new(places), answers: AtomicU64::new(0), silences: AtomicU64::new(0) }
    }

    /// The host left a request without an answer.
    pub(super) fn silent(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has answered so far.
    pub(super) fn mark(&self) -> Mark {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Mark { answers: load(&self.answers), silences: load(&self.silences) }
    }
}

impl Places {
    fn new(count: usize) -> Self {
        let new = || FairSemaphore::new(count, count * SPARE);
        Self { lookups: new(), transfers: new() }
    }

    fn of(&self, kind: Kind) -> &Arc<FairSemaphore> {
        match kind {
            Kind::Lookup => &self.lookups,
            Kind::Transfer => &self.transfers,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_host_has_places_of_its_own() {
        let peers = Peers::new(2);
        let (one, same, other) = (peers.of("one"), peers.of("one"), peers.of("other"));
        let party = Party::default();
        let place = |host, peer, kind| peers.place(host, true, peer, kind, &party).now_or_never();
        let mut held: Vec<_> = (0..2).map(|_| place("one", &one, Kind::Lookup).unwrap().ok().unwrap()).collect();
        assert!(place("one", &same, Kind::Lookup).is_none(), "all who use a host share its places");
        assert!(place("one", &one, Kind::Transfer).is_some_and(|place| place.is_ok()));
        assert!(place("other", &other, Kind::Lookup).is_some_and(|place| place.is_ok()));
        held.pop();
        assert!(place("one", &one, Kind::Lookup).is_some_and(|place| place.is_ok()));
    }

    #[test]
    fn hosts_that_nobody_named_take_no_more_than_their_share() {
        let (peers, party) = (Peers::new(8), Party::default());
        let hosts: Vec<_> = (0..=MAX_UNNAMED / 8).map(|number| format!("host{number}")).collect();
        let used: Vec<_> = hosts.iter().map(|host| (host, peers.of(host))).collect();
        let places = used.iter().flat_map(|(host, peer)| (0..8).map(move |_| (host, peer)));
        let taken: Vec<_> = places
            .filter_map(|(host, peer)| peers.place(host, false, peer, Kind::Lookup, &party).now_or_never()?.ok())
            .collect();
        assert_eq!(taken.len(), MAX_UNNAMED);
        let named = peers.of("named");
        assert!(
            peers.place("named", true, &named, Kind::Lookup, &party).now_or_never().is_some_and(|place| place.is_ok())
        );
    }

    #[test]
    fn a_host_rests_that_answered_nobody() {
        let (peers, party) = (Peers::new(1), Party::default());
        let peer = peers.of("host");
        let rests =
            || peers.place("host", true, &peer, Kind::Lookup, &party).now_or_never().is_some_and(|it| it.is_err());
        let mark = peer.mark();
        peers.given_up("host", &peer, mark);
        assert!(!rests(), "it refused, and was not silent");
        peer.silent();
        peers.answered("host", &peer);
        peers.given_up("host", &peer, mark);
        assert!(!rests(), "it answered another request");
        let mark = peer.mark();
        peer.silent();
        peers.given_up("host", &peer, mark);
        assert!(rests());
        peers.wake("host");
        assert!(!rests(), "it is there again");
    }
}
