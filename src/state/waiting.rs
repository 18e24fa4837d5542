//! The changes that wait to be written. What a later one makes needless is not written: a request that is closed before it
//! was written never is, and of the versions of an app only the last.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::delivery::rules::request::RequestId;
use crate::delivery::rules::versions::SentVersion;
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// Apps whose rows wait to be removed. Further ones stay on disk, where they are out of date.
#[doc(alias = "bound")]
const MAX_REMOVALS: usize = 32_768;

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The app.
    pub app: App,
    /// When it arrived.
    pub arrived: Time,
}

/// Who waits until versions are written.
type Done = oneshot::Sender<Result<(), Error>>;

/// Changes, of which all that wait are written in one transaction. Their number is bounded by what is open, what is remembered
/// of apps, and what is on disk of both.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) opened: BTreeMap<RequestId, (OpenRequest, Ack)>,
    pub(super) closed: BTreeSet<RequestId>,
    pub(super) versions: HashMap<App, (Vec<SentVersion>, Vec<Done>)>,
    pub(super) present: Option<Time>,
    pub(super) uncertain: Option<Time>,
    /// Whether something came since it was tried last.
    pub(super) is_due: bool,
    /// Whether nothing is taken any more.
    pub(super) is_closed: bool,
}

impl Waiting {
    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.opened.len()
            + self.closed.len()
            + self.versions.len()
            + [self.present, self.uncertain].iter().flatten().count()
    }

    /// Takes an open request.
    pub(super) fn open(&mut self, id: RequestId, request: OpenRequest, ack: Ack) {
        self.opened.insert(id, (request, ack));
    }

    /// Takes the end of a request. The broker gets the acknowledgement of one that was not written.
    pub(super) fn close(&mut self, id: RequestId) {
        match self.opened.remove(&id) {
            Some((_, ack)) => ack.acknowledge(),
            None => drop(self.closed.insert(id)),
        }
    }

    /// Takes the versions of an app; none if it is forgotten. Whoever waits for earlier ones waits for these.
    pub(super) fn version(&mut self, app: App, versions: Vec<SentVersion>, done: Option<Done>) {
        if versions.is_empty() && self.versions.len() >= MAX_REMOVALS {
            self.versions.remove(&app);
            return;
        }
        let (kept, waiters) = self.versions.entry(app).or_default();
        *kept = versions;
        waiters.extend(done);
    }

    /// Answers who waits, with what became of the transaction. Requests are acknowledged even so: a message without PUBACK
    /// would hold back those behind it, and they are served all the same.
    pub(super) fn answer(&mut self, written: &Result<(), Error>) {
        for (_, ack) in self.opened.values_mut() {
            std::mem::take(ack).acknowledge();
        }
        for (_, waiters) in self.versions.values_mut() {
            for done in waiters.drain(..) {
                // Whoever waited may be gone already.
                let _ = done.send(written.clone());
            }
        }
    }

    /// Takes back what could not be written, before what came meanwhile.
    pub(super) fn put_back(&mut self, failed: Self) {
        for (id, open) in failed.opened {
            // One that was closed meanwhile is not needed.
            if !self.closed.remove(&id) {
                self.opened.insert(id, open);
            }
        }
        self.closed.extend(failed.closed);
        for (app, versions) in failed.versions {
            self.versions.entry(app).or_insert(versions);
        }
        self.present = self.present.or(failed.present);
        self.uncertain = self.uncertain.or(failed.uncertain);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mqtt::topic::{Channel, Layout};

    fn app(name: &str) -> App {
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        App { channel, layout: Layout::Plain, name: name.into() }
    }

    fn open(waiting: &mut Waiting, id: RequestId) {
        waiting.open(id, OpenRequest { app: app("a"), arrived: Time(id) }, Ack::default());
    }

    #[test]
    fn what_is_over_is_not_written() {
        let mut waiting = Waiting::default();
        for id in 0..100_000 {
            open(&mut waiting, id);
            waiting.close(id);
            waiting.version(app("a"), Vec::new(), None);
        }
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        for id in 0..100_000 {
            waiting.version(app(&id.to_string()), Vec::new(), None);
        }
        assert_eq!(waiting.len(), MAX_REMOVALS);
    }

    #[test]
    fn what_failed_is_kept_unless_it_is_over() {
        let mut failed = Waiting::default();
        (1..=3).for_each(|id| open(&mut failed, id));
        failed.close(9);
        failed.present = Some(Time(1));
        let mut waiting = Waiting::default();
        open(&mut waiting, 4);
        waiting.close(2);
        waiting.present = Some(Time(2));
        waiting.put_back(failed);
        assert_eq!(waiting.opened.keys().copied().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!((waiting.closed, waiting.present), (BTreeSet::from([9]), Some(Time(2))));
    }

    #[test]
    fn who_waits_for_versions_waits_for_the_last() {
        let mut waiting = Waiting::default();
        let (first, mut one) = oneshot::channel();
        let (second, mut two) = oneshot::channel();
        waiting.version(app("a"), Vec::new(), Some(first));
        waiting.version(app("a"), Vec::new(), Some(second));
        waiting.answer(&Ok(()));
        assert!(
            one.try_recv().is_ok_and(|written| written.is_ok()) && two.try_recv().is_ok_and(|written| written.is_ok())
        );
    }
}
