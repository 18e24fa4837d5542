//! The store's folder: opening it, and the files that all scopes share.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::{NamedTempFile, TempDir};
use tokio::sync::Semaphore;
use tracing::warn;

use super::hashed::HashedFiles;
use super::own;
use super::partial::Partials;
use super::quota::Quota;
use super::written::{Part, PartKey};
use crate::error::Error;
use crate::util::file;
use crate::util::metrics::Meters;

/// Blobs that are hashed again at once.
#[doc(alias = "bound")]
const MAX_REHASHES: usize = 2;
/// Of the store's limit, downloads that were broken off may occupy one part in so many, beside it.
#[doc(alias = "bound")]
const PARTIALS_SHARE: u64 = 4;
/// The file with the salt, in the first of the [`folders`].
const SALT: &str = "salt";
/// Bytes of the salt.
const SALT_SIZE: u64 = 32;

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; otherwise a temporary one replaces it where it cannot be used.
    pub is_named: bool,
    /// The disk space that it may occupy, bytes.
    pub limit: u64,
}

/// The store's folder.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) root: PathBuf,
    pub(super) salt: Vec<u8>,
    pub(super) quota: Quota,
    pub(super) hashed: HashedFiles,
    pub(super) rehashes: Semaphore,
    pub(super) partials: Partials<PartKey, Part>,
    pub(super) meters: Meters,
    /// Removes the folder with the store, if it is a temporary one.
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens the folder, makes it where it is missing, and removes the partial files of a crash. Where the operator
    /// named no folder and the default one cannot be used, a temporary one replaces it.
    pub(crate) fn open(options: &StoreOptions) -> Result<Arc<Self>, Error> {
        match Self::open_in(&options.folder, options.limit, None) {
            Err(error) if !options.is_named => {
                let temporary = file::temporary_folder()?;
                let folder = temporary.path().to_owned();
                warn!(event = "temporary-store", folder = %folder.display(), hint = error.hint(), "the store is a temporary one: {error}");
                Self::open_in(&folder, options.limit, Some(temporary))
            }
            opened => opened,
        }
    }

    fn open_in(folder: &Path, limit: u64, temporary: Option<TempDir>) -> Result<Arc<Self>, Error> {
        let [root, ingest] = folders(folder);
        let open = || {
            own::make(&root, &ingest)?;
            let salt = salt(&root)?;
            file::try_writing(&ingest)?;
            let (hashed, rehashes, meters) = (HashedFiles::default(), Semaphore::new(MAX_REHASHES), Meters::default());
            let quota = Quota::new(&root, limit);
            quota.make_room(0, &hashed)?;
            let partials = Partials::new(limit / PARTIALS_SHARE);
            Ok(Arc::new(Self { root, salt, quota, hashed, rehashes, partials, meters, _temporary: temporary }))
        };
        open().map_err(|source| Error::disk(folder, source))
    }

    /// Its folder, if a file can be written there. Blocks on the disk.
    pub(crate) fn try_writing(&self) -> io::Result<&Path> {
        file::try_writing(&self.ingest()?).map(|()| &*self.root)
    }

    /// A file that will become a blob or a tag.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new().prefix("").tempfile_in(self.ingest()?)?;
        hold(file.as_file());
        Ok(file)
    }

    /// The folder of downloads. If it was removed, it is made again, and the salt beside it: the scopes keep their names.
    pub(super) fn ingest(&self) -> io::Result<PathBuf> {
        let ingest = self.root.join("ingest");
        if own::make(&self.root, &ingest)? {
            write_salt(&self.root, &self.salt)?;
        }
        Ok(ingest)
    }
}

/// Takes a shared lock, which shows other processes that the file is open. A file system without locks is no error.
pub(super) fn hold(file: &File) {
    let _ = file.try_lock_shared();
}

/// The folders in which a store in `folder` makes files.
fn folders(folder: &Path) -> [PathBuf; 2] {
    let root = folder.join("v1");
    let ingest = root.join("ingest");
    [root, ingest]
}

/// Checks that a store can be kept in `folder`, or made below the nearest folder above it that exists.
///
/// # Errors
/// [`Error::Disk`] with what the system says. Blocks on the disk.
pub fn check(folder: &Path) -> Result<(), Error> {
    let [root, ingest] = folders(folder);
    let usable = || {
        for folder in [&root, &ingest].into_iter().filter(|folder| folder.symlink_metadata().is_ok()) {
            own::require(folder)?;
        }
        read_salt(&root).map(drop)
    };
    usable().map_err(|source| Error::disk(folder, source))?;
    file::try_making_files(&root)?;
    file::try_making_files(&ingest)
}

/// The folder's salt; the first process makes it.
fn salt(root: &Path) -> io::Result<Vec<u8>> {
    if let Some(salt) = read_salt(root)? {
        return Ok(salt);
    }
    write_salt(root, &[uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat())?;
    read_salt(root)?.ok_or_else(|| io::Error::other("the file salt is missing"))
}

/// The salt, if there is one.
fn read_salt(root: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = root.join(SALT);
    let salt = own::open(root, &path)?.map(|file| own::read(&file, SALT_SIZE + 1)).transpose()?;
    if salt.as_ref().map_or(path.symlink_metadata().is_err(), |salt| salt.len() as u64 == SALT_SIZE) {
        Ok(salt)
    } else {
        Err(io::Error::other("the file salt is damaged; remove the folder"))
    }
}

fn write_salt(root: &Path, salt: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(root)?;
    file.write_all(salt)?;
    file.as_file().sync_all()?;
    // Not replaced where another process was faster.
    let _ = file.persist_noclobber(root.join(SALT));
    Ok(())
}
