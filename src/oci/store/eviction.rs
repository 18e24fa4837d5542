//! Keeping the store within its limit, least recently used first.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;

use super::{SMALL_FILE, Store};
use crate::util::metrics;
use crate::util::sync::lock;

/// How long the space taken is believed before the folder is looked at: other processes may fill it, too.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// One in so many files goes at least when room is made, so that a store of many small ones is not looked through for each.
const SPARE: usize = 16;
/// How long a file in `ingest` may be there without being held.
const STALE: Duration = Duration::from_secs(60);

/// The disk space that is taken, as far as known.
#[derive(Debug, Default)]
pub(super) struct Usage {
    bytes: u64,
    scanned: Option<Instant>,
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

impl Store {
    /// Makes room for `size` bytes: removes what was not used for longest, and nothing that is open. What is open may
    /// exceed the limit.
    pub(super) fn make_room(&self, size: u64) -> io::Result<()> {
        let needed = size.next_multiple_of(SMALL_FILE);
        // Held throughout: two threads that make room at once would make it twice.
        let mut usage = lock(&self.usage);
        usage.bytes = usage.bytes.saturating_add(needed);
        metrics::set(&self.meters.store_bytes, usage.bytes);
        let recent = usage.scanned.is_some_and(|scanned| scanned.elapsed() < SCAN_INTERVAL);
        if recent && usage.bytes <= self.limit {
            return Ok(());
        }
        clear_ingest(&self.root.join("ingest"))?;
        let mut entries = self.entries()?;
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if total.saturating_add(needed) > self.limit {
            entries.sort_by_key(|entry| entry.used);
            let spare = entries.len() / SPARE;
            for (position, entry) in entries.iter().enumerate() {
                if position >= spare && total.saturating_add(needed) <= self.limit {
                    break;
                }
                if remove(&entry.path)? {
                    debug!(path = %entry.path.display(), bytes = entry.bytes, "evicted");
                    lock(&self.known).remove(&entry.path);
                    total -= entry.bytes;
                }
            }
        }
        (usage.bytes, usage.scanned) = (total.saturating_add(needed), Some(Instant::now()));
        metrics::set(&self.meters.store_bytes, usage.bytes);
        Ok(())
    }

    /// Every blob and note.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for scope in fs::read_dir(&self.root)? {
            let scope = scope?.path();
            for part in ["blobs", "tags"] {
                let Ok(files) = fs::read_dir(scope.join(part)) else { continue };
                for file in files {
                    let file = file?;
                    // Gone meanwhile: by another process.
                    let Ok(metadata) = file.metadata() else { continue };
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    entries.push(Entry { path: file.path(), used, bytes: (metadata.blocks() * 512).max(SMALL_FILE) });
                }
            }
        }
        Ok(entries)
    }
}

/// Removes a file unless somebody has it open; tells whether it is gone.
fn remove(path: &Path) -> io::Result<bool> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(true) } else { Err(error) };
    match File::open(path) {
        Ok(file) if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) => Ok(false),
        Ok(_locked) => fs::remove_file(path).map(|()| true).or_else(gone),
        Err(error) => gone(error),
    }
}

/// Removes what processes left that ended in the middle of a download.
fn clear_ingest(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        let age = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            remove(&file.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::oci::blob::Descriptor;
    use crate::oci::digest::Digest;
    use crate::oci::store::StoreOptions;

    #[tokio::test]
    async fn the_least_recently_used_goes_first_and_nothing_that_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions { folder: folder.path().into(), named: true, limit: 64 << 10 }).unwrap();
        let scope = store.scope(b"");
        let blob = |number: u8| Bytes::from(vec![number; 16 << 10]);
        let has = async |number| scope.blob(Digest::of(&blob(number))).await.unwrap().is_some();
        scope.keep(blob(0)).await.unwrap();
        let open = scope.blob(Digest::of(&blob(0))).await.unwrap().unwrap();
        for number in 1..3 {
            scope.keep(blob(number)).await.unwrap();
        }
        assert!(has(1).await, "used again");
        scope.keep(blob(3)).await.unwrap();
        scope.keep(blob(4)).await.unwrap();
        assert!(!has(2).await && has(0).await && has(1).await && has(4).await);
        drop(open);
        let (digest, media_type) = (Digest::of(b"never comes"), String::new());
        scope.spool(Descriptor { digest, size: 64 << 10, media_type }).await.unwrap().discard().await;
        assert!(has(4).await, "what is only announced takes nobody's place");
        let taken: u64 = store.entries().unwrap().iter().map(|entry| entry.bytes).sum();
        assert!(taken <= 64 << 10, "{taken}");
    }
}
