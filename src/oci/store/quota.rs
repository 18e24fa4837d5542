//! The disk space of the store: the least recently used files are evicted to stay within its limit.

use std::fs::{self, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;

use super::hashed::HashedFiles;
use super::own;
use crate::util::metrics::{self, Meters};
use crate::util::sync::lock;

/// Disk space that a small file counts for, bytes.
#[doc(alias = "bound")]
pub(super) const MIN_FILE_SPACE: u64 = 4096;
/// How long the measured disk space is used before the folder is scanned again: other processes may fill it, too.
#[doc(alias = "bound")]
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// One in so many files is evicted at least, so that a store of many small ones is not scanned for each.
#[doc(alias = "bound")]
const MIN_EVICTED_SHARE: usize = 16;
/// The age of a file in `ingest` after which it is removed, unless a process holds it.
#[doc(alias = "bound")]
const STALE: Duration = Duration::from_secs(60);

/// The limit of the store's disk space, and how much of it is in use.
#[derive(Debug)]
pub(super) struct Quota {
    root: PathBuf,
    limit: u64,
    usage: Mutex<Usage>,
    meters: Meters,
}

/// The disk space in use, as far as known.
#[derive(Debug, Default)]
struct Usage {
    bytes: u64,
    scanned: Option<Instant>,
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

impl Quota {
    pub(super) fn new(root: &Path, limit: u64) -> Self {
        Self { root: root.to_owned(), limit, usage: Mutex::default(), meters: Meters::default() }
    }

    /// Whether a file of `size` bytes is within the limit of the whole store.
    pub(super) fn allows(&self, size: u64) -> bool {
        size.next_multiple_of(MIN_FILE_SPACE) <= self.limit
    }

    /// Makes room for `size` bytes: evicts the least recently used files, and none that is open. Open files may exceed
    /// the limit.
    pub(super) fn make_room(&self, size: u64, hashed: &HashedFiles) -> io::Result<()> {
        let needed = size.next_multiple_of(MIN_FILE_SPACE);
        // Locked throughout: two threads that make room at once would make it twice.
        let mut usage = lock(&self.usage);
        usage.bytes = usage.bytes.saturating_add(needed);
        metrics::set(&self.meters.store_bytes, usage.bytes);
        let is_recent = usage.scanned.is_some_and(|scanned| scanned.elapsed() < SCAN_INTERVAL);
        if is_recent && usage.bytes <= self.limit {
            return Ok(());
        }
        self.clear_ingest()?;
        let kept = self.evict(needed, hashed)?;
        (usage.bytes, usage.scanned) = (kept.saturating_add(needed), Some(Instant::now()));
        metrics::set(&self.meters.store_bytes, usage.bytes);
        Ok(())
    }

    /// Evicts files until `needed` bytes are free; returns the disk space of the others.
    fn evict(&self, needed: u64, hashed: &HashedFiles) -> io::Result<u64> {
        let mut entries = self.entries()?;
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if total.saturating_add(needed) <= self.limit {
            return Ok(total);
        }
        entries.sort_by_key(|entry| entry.used);
        let minimum = entries.len() / MIN_EVICTED_SHARE;
        for (position, entry) in entries.iter().enumerate() {
            if position >= minimum && total.saturating_add(needed) <= self.limit {
                break;
            }
            if self.remove(&entry.path)? {
                debug!(path = %entry.path.display(), bytes = entry.bytes, "evicted");
                hashed.remove(&entry.path);
                total -= entry.bytes;
            }
        }
        Ok(total)
    }

    /// Every blob and tag.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for scope in
            own::list(&self.root)?.into_iter().filter(|scope| scope.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            for part in ["blobs", "tags"] {
                for file in own::list(&scope.path().join(part))? {
                    // Another process may have removed it.
                    let Some(metadata) = file.metadata().ok().filter(Metadata::is_file) else { continue };
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    let bytes = (metadata.blocks() * 512).max(MIN_FILE_SPACE);
                    entries.push(Entry { path: file.path(), used, bytes });
                }
            }
        }
        Ok(entries)
    }

    /// Removes a file unless a process has it open; returns whether it is gone.
    fn remove(&self, path: &Path) -> io::Result<bool> {
        let Some(file) = own::open(&self.root, path)? else { return Ok(true) };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(false);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Removes the files of processes that ended during a download.
    fn clear_ingest(&self) -> io::Result<()> {
        for file in own::list(&self.root.join("ingest"))? {
            let metadata = file.metadata().ok().filter(Metadata::is_file);
            let age = metadata.and_then(|metadata| metadata.modified().ok()).and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > STALE) {
                self.remove(&file.path())?;
            }
        }
        Ok(())
    }
}
