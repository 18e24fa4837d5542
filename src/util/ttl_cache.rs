//! A cache whose entries expire.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Instant;

use crate::util::sync::lock;

/// A map whose entries expire. When it is full, the entry that expires first is removed.
#[derive(Debug)]
pub(crate) struct TtlCache<K, V> {
    entries: Mutex<HashMap<K, (V, Instant)>>,
    limit: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> TtlCache<K, V> {
    /// A map of at most `limit` entries.
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Mutex::default(), limit }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let entries = lock(&self.entries);
        let (value, until) = entries.get(key)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, until: Instant) {
        let mut entries = lock(&self.entries);
        let now = Instant::now();
        entries.retain(|_, (_, until)| *until > now);
        if entries.len() >= self.limit && !entries.contains_key(&key) {
            let first = entries.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            first.and_then(|first| entries.remove(&first));
        }
        entries.insert(key, (value, until));
    }

    pub(crate) fn remove(&self, key: &K) {
        lock(&self.entries).remove(key);
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_expire_and_make_room() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let recent = TtlCache::new(2);
        recent.insert("old", 1, now);
        recent.insert("new", 2, later);
        assert_eq!((recent.get(&"old"), recent.get(&"new")), (None, Some(2)));
        recent.insert("newer", 3, later + Duration::from_secs(1));
        assert_eq!((recent.get(&"new"), recent.get(&"newer")), (Some(2), Some(3)));
        recent.insert("newest", 4, later + Duration::from_secs(2));
        recent.insert("newest", 5, later + Duration::from_secs(2));
        assert_eq!((recent.get(&"new"), recent.get(&"newer"), recent.get(&"newest")), (None, Some(3), Some(5)));
        recent.remove(&"newer");
        assert_eq!(recent.get(&"newer"), None);
        recent.clear();
        assert_eq!(recent.get(&"newest"), None);
    }
}
