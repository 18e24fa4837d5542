//! Which files this process has hashed, and their state then.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::util::sync::lock;

/// Files that are kept in memory as hashed by this process.
#[doc(alias = "bound")]
const MAX_FILES: usize = 1 << 16;

/// The files that this process has hashed.
#[derive(Debug, Default)]
pub(super) struct HashedFiles(Mutex<HashMap<PathBuf, Stamp>>);

/// Changes when a process writes to a file, or replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl HashedFiles {
    /// Whether the file at `path` was hashed in this state.
    pub(super) fn contains(&self, path: &Path, stamp: Stamp) -> bool {
        lock(&self.0).get(path) == Some(&stamp)
    }

    /// Records that the file at `path` was hashed in this state.
    pub(super) fn insert(&self, path: &Path, stamp: Stamp) {
        let mut files = lock(&self.0);
        if files.len() >= MAX_FILES {
            files.clear();
        }
        files.insert(path.to_owned(), stamp);
    }

    pub(super) fn remove(&self, path: &Path) {
        lock(&self.0).remove(path);
    }

    /// Sets the time of a file's use to now. Returns its size if it was hashed in its present state.
    pub(super) fn touch(&self, path: &Path, file: &File) -> io::Result<Option<u64>> {
        // Under the lock: a use by another thread meanwhile must not look like a change.
        let mut files = lock(&self.0);
        let is_hashed = files.get(path) == Some(&Stamp::of(file)?);
        // A folder that another user owns can be read all the same; then the order of use is that of fetching.
        let _ = file.set_modified(SystemTime::now());
        let now = Stamp::of(file)?;
        if is_hashed {
            files.insert(path.to_owned(), now);
        }
        Ok(is_hashed.then_some(now.size))
    }
}
