//! The part of the store that belongs to one registry and its credentials.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::NamedTempFile;
use tracing::warn;

use super::folder::{Store, hold};
use super::hashed::Stamp;
use crate::error::Error;
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;
use crate::oci::manifest::MAX_MANIFEST_SIZE;
use crate::util::file::make_folder;

/// The part of the store with one identity.
#[derive(Debug, Clone)]
pub struct Scope {
    pub(super) store: Arc<Store>,
    pub(super) folder: PathBuf,
}

impl Store {
    /// The scope of what belongs to `identity`. It occupies no disk space before something is in it.
    #[must_use]
    pub fn scope(self: &Arc<Self>, identity: &[u8]) -> Scope {
        let name = &Digest::of(&[&self.salt, identity].concat()).hex()[..32];
        Scope { folder: self.root.join(name), store: Arc::clone(self) }
    }
}

impl Scope {
    /// The blob `digest`, if it is stored and undamaged. A damaged one is removed.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be read.
    pub async fn blob(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let blob = self.verified_blob(digest).await?;
        let meters = &self.store.meters;
        if blob.is_some() { &meters.store_hits } else { &meters.store_misses }.increment(1);
        Ok(blob)
    }

    async fn verified_blob(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let path = self.path(digest);
        let opened = self.blocking(move |scope| scope.open(&path)).await?;
        let Some((file, hashed_size)) = opened else { return Ok(None) };
        if let Some(size) = hashed_size {
            return Ok(Some(Blob::verified(file, digest, size)));
        }
        let _permit = self.store.rehashes.acquire().await;
        self.blocking(move |scope| scope.rehash(file, digest)).await
    }

    /// All of a small blob, such as a manifest.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has more than 4 MiB, [`Error::Disk`] if it cannot be read.
    pub async fn read(&self, blob: Blob) -> Result<Bytes, Error> {
        if blob.size() > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { object: blob.digest().to_string(), limit: MAX_MANIFEST_SIZE });
        }
        Ok(self.blocking(move |_| Ok(blob.read())).await??.into())
    }

    /// A file without a name, for what is derived from blobs and not kept.
    pub(crate) fn scratch(&self) -> io::Result<File> {
        self.store.scratch()
    }

    /// Its folder, which no other scope has.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// Opens a blob and sets the time of its use; with its size, if this process hashed it in its present state.
    fn open(&self, path: &Path) -> io::Result<Option<(File, Option<u64>)>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        hold(&file);
        let hashed_size = self.store.hashed.touch(path, &file)?;
        Ok(Some((file, hashed_size)))
    }

    /// Hashes an open blob; removes it if its digest is not its name.
    fn rehash(&self, file: File, digest: Digest) -> io::Result<Option<Blob>> {
        let path = self.path(digest);
        let stamp = Stamp::of(&file)?;
        let blob = Blob::verified(file, digest, stamp.size);
        if self.store.hashed.contains(&path, stamp) {
            return Ok(Some(blob));
        }
        let actual = Digest::of_reader(blob.reader())?;
        if actual == digest {
            self.store.hashed.insert(&path, stamp);
            return Ok(Some(blob));
        }
        warn!(event = "blob-damaged", %digest, %actual, path = %path.display(), "damaged: a stored blob is not what it was; it is fetched again");
        fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        Ok(None)
    }

    /// Syncs a verified blob to the disk, and then gives it its name. One larger than the quota gets none.
    pub(super) fn persist(&self, file: NamedTempFile, digest: Digest) -> io::Result<File> {
        let Store { quota, hashed, .. } = &*self.store;
        let size = file.as_file().metadata()?.len();
        if !quota.allows(size) {
            return Ok(file.into_file());
        }
        quota.make_room(size, hashed)?;
        make_folder(&self.folder.join("blobs"))?;
        file.as_file().sync_all()?;
        let path = self.path(digest);
        let file = file.persist(&path)?;
        hashed.insert(&path, Stamp::of(&file)?);
        Ok(file)
    }

    /// Runs work that blocks on the disk or the processor on a thread for such work.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let scope = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&scope)).await;
        done.map_err(io::Error::other).flatten().map_err(|source| Error::disk(&self.store.root, source))
    }
}
