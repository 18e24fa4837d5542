//! Lookups in progress: who needs the same at the same time shares its result, so that a tag which many channels request at
//! once is looked up once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::error::Error;
use crate::oci::digest::Digest;
use crate::util::sync::lock;

/// What a lookup finds: the bytes of a manifest or index, and their digest.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

/// The folder of the scope, the reference that is pulled, and the name that is looked up for it.
pub(super) type Key = (PathBuf, String, String);

/// The lookups in progress.
#[derive(Debug, Default)]
pub(super) struct Lookups(Mutex<HashMap<Key, Lookup>>);

/// Locked by whoever performs it; `None` until then.
type Lookup = Arc<tokio::sync::Mutex<Option<Result<Document, Error>>>>;

impl Lookups {
    /// The result of `lookup`, or of one with the same key that is in progress. If that is dropped, another one that waits
    /// takes its place.
    pub(super) async fn share(
        &self,
        key: Key,
        lookup: impl Future<Output = Result<Document, Error>>,
    ) -> Result<Document, Error> {
        let shared = {
            let mut open = lock(&self.0);
            open.retain(|_, shared| Arc::strong_count(shared) > 1);
            Arc::clone(open.entry(key.clone()).or_default())
        };
        let mut outcome = shared.lock().await;
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let result = lookup.await;
        // Who comes from now on looks again.
        lock(&self.0).remove(&key);
        outcome.insert(result).clone()
    }

    /// How many wait for the lookups in progress, or perform one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).values().map(|shared| Arc::strong_count(shared) - 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    fn key(name: &str) -> Key {
        (PathBuf::new(), "registry/app:1".into(), name.into())
    }

    fn document(bytes: &'static [u8]) -> Document {
        Document { digest: Digest::of(bytes), bytes: Bytes::from_static(bytes) }
    }

    #[tokio::test]
    async fn lookups_at_the_same_time_are_one() {
        let (lookups, performed) = (Lookups::default(), Cell::new(0));
        let look_up = |name| {
            lookups.share(key(name), async {
                performed.set(performed.get() + 1);
                yield_now().await;
                Ok(document(b"one"))
            })
        };
        let found = join_all((0..100).map(|_| look_up("1"))).await;
        assert!(found.into_iter().all(|found| found.unwrap().bytes == "one"));
        assert_eq!((performed.get(), lookups.len()), (1, 0));
        look_up("1").await.unwrap();
        assert_eq!(performed.get(), 2, "the earlier one had ended");
        join_all([look_up("1"), look_up("2")]).await;
        assert_eq!(performed.get(), 4);
    }

    #[tokio::test]
    async fn a_lookup_that_is_dropped_is_performed_by_another() {
        let lookups = Lookups::default();
        let mut first = Box::pin(lookups.share(key("1"), pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(lookups.share(key("1"), async { Ok(document(b"second")) }));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(lookups.len(), 2);
        drop(first);
        assert_eq!(second.await.unwrap().bytes, "second");
    }
}
