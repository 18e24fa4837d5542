//! Which files this process has hashed, their state then, and the checksums that it took.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::oci::blob::Checksums;
use crate::util::sync::lock;

/// Files that are kept in memory as hashed by this process.
#[doc(alias = "bound")]
const MAX_FILES: usize = 1 << 16;
/// Checksums of blocks that are kept in memory, 4 bytes each: those of 16 GiB. A file without them is hashed again.
#[doc(alias = "bound")]
const MAX_CHECKSUMS: usize = 1 << 20;

/// The files that this process has hashed.
#[derive(Debug, Default)]
pub(super) struct HashedFiles(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    files: HashMap<PathBuf, (Stamp, Checksums)>,
    /// The checksums of all of them.
    checksums: usize,
}

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
    /// The checksums of the file at `path`, if it was hashed in this state.
    pub(super) fn get(&self, path: &Path, stamp: Stamp) -> Option<Checksums> {
        let files = lock(&self.0);
        files.files.get(path).filter(|(known, _)| *known == stamp).map(|(_, checksums)| Arc::clone(checksums))
    }

    /// Records that the file at `path` was hashed in this state.
    pub(super) fn insert(&self, path: &Path, stamp: Stamp, checksums: Checksums) {
        let mut files = lock(&self.0);
        files.remove(path);
        if files.files.len() >= MAX_FILES || files.checksums + checksums.len() > MAX_CHECKSUMS {
            *files = Files::default();
        }
        if checksums.len() <= MAX_CHECKSUMS {
            files.checksums += checksums.len();
            files.files.insert(path.to_owned(), (stamp, checksums));
        }
    }

    pub(super) fn remove(&self, path: &Path) {
        lock(&self.0).remove(path);
    }

    /// Sets the time of a file's use to now. Returns its size and its checksums if it was hashed in its present state.
    pub(super) fn touch(&self, path: &Path, file: &File) -> io::Result<Option<(u64, Checksums)>> {
        // Under the lock: a use by another thread meanwhile must not look like a change.
        let mut files = lock(&self.0);
        let before = Stamp::of(file)?;
        // A folder that another user owns can be read all the same; then the order of use is that of fetching.
        let _ = file.set_modified(SystemTime::now());
        let now = Stamp::of(file)?;
        let hashed = files.files.get_mut(path).filter(|(stamp, _)| *stamp == before);
        Ok(hashed.map(|(stamp, checksums)| {
            *stamp = now;
            (now.size, Arc::clone(checksums))
        }))
    }
}

impl Files {
    fn remove(&mut self, path: &Path) {
        if let Some((_, checksums)) = self.files.remove(path) {
            self.checksums -= checksums.len();
        }
    }
}
