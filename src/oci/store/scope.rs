//! The part of the store that belongs to one registry and its credentials: blobs, and the digests of tags.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, PersistError};
use tracing::warn;

use super::folder::{Store, hold};
use super::hashed::Stamp;
use super::own;
use super::quota::MIN_FILE_SPACE;
use crate::error::Error;
use crate::oci::blob::{Blob, BlobHasher, Checksums};
use crate::oci::digest::Digest;
use crate::oci::manifest::MAX_MANIFEST_SIZE;

/// Bytes that are read at once to hash a blob again.
#[doc(alias = "bound")]
const BUFFER_SIZE: usize = 128 << 10;
/// Bytes of a tag's file that are read: a longer one is none.
#[doc(alias = "bound")]
const MAX_TAG_FILE: u64 = 4096;

/// The size of a blob and its checksums, as this process hashed it.
type Hashed = (u64, Checksums);

/// The part of the store with one identity.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(super) store: Arc<Store>,
    /// No other scope has it.
    pub(crate) folder: PathBuf,
}

/// The digest of a tag, as the registry confirmed it last.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CachedTag {
    pub(crate) digest: Digest,
    confirmed: SystemTime,
}

impl CachedTag {
    /// Whether the registry confirmed it less than `ttl` ago.
    pub(crate) fn is_fresh(&self, ttl: Duration) -> bool {
        self.confirmed.elapsed().is_ok_and(|age| age < ttl)
    }
}

impl Store {
    /// The scope of what belongs to `identity`. It occupies no disk space before something is in it.
    pub(crate) fn scope(self: &Arc<Self>, identity: &[u8]) -> Scope {
        let name = &Digest::of(&[&self.salt, identity].concat()).hex()[..32];
        Scope { folder: self.root.join(name), store: Arc::clone(self) }
    }
}

impl Scope {
    /// The blob `digest`, if it is stored and undamaged. A damaged one is removed.
    pub(crate) async fn blob(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let blob = self.verified_blob(digest).await?;
        let meters = &self.store.meters;
        if blob.is_some() { &meters.store_hits } else { &meters.store_misses }.increment(1);
        Ok(blob)
    }

    async fn verified_blob(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let path = self.path(digest);
        let opened = self.blocking(move |scope| scope.open(&path)).await?;
        let Some((file, hashed)) = opened else { return Ok(None) };
        if let Some((size, checksums)) = hashed {
            return Ok(Some(Blob::stored(file, digest, size, checksums, self.path(digest))));
        }
        let _permit = self.store.rehashes.acquire().await;
        self.blocking(move |scope| scope.rehash(file, digest)).await
    }

    /// All of a small blob, such as a manifest.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has more than 4 MiB, [`Error::Disk`] if it cannot be read.
    pub(crate) async fn read(&self, blob: Blob) -> Result<Bytes, Error> {
        if blob.size() > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { object: blob.digest().to_string(), limit: MAX_MANIFEST_SIZE });
        }
        Ok(self.blocking(move |_| Ok(blob.read())).await??.into())
    }

    /// The digest that `tag`, a full reference, had when the registry confirmed it last. An unreadable file is none.
    pub(crate) async fn cached_tag(&self, tag: &str) -> Result<Option<CachedTag>, Error> {
        let path = self.tag_path(tag);
        let read = self.blocking(move |scope| {
            let Some(file) = own::open(&scope.store.root, &path)? else { return Ok(None) };
            let _ = file.set_modified(SystemTime::now());
            own::read(&file, MAX_TAG_FILE).map(Some)
        });
        Ok(read.await?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Persists the digest that `tag` has now.
    pub(crate) async fn cache_tag(&self, tag: &str, digest: Digest) -> Result<(), Error> {
        let path = self.tag_path(tag);
        let cached = CachedTag { digest, confirmed: SystemTime::now() };
        self.blocking(move |scope| {
            let store = &scope.store;
            if !store.quota.allows(MIN_FILE_SPACE) {
                return Ok(());
            }
            store.quota.make_room(MIN_FILE_SPACE, &store.hashed)?;
            let mut file = store.new_file()?;
            serde_json::to_writer(&mut file, &cached)?;
            scope.place(file, &path).map(drop)
        })
        .await
    }

    /// A file without a name, for what is derived from blobs and not kept.
    pub(crate) fn scratch(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.store.ingest()?)
    }

    fn tag_path(&self, tag: &str) -> PathBuf {
        self.folder.join("tags").join(Digest::of(tag.as_bytes()).hex())
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// Opens a blob and sets the time of its use; with its size and checksums, if this process hashed it in its present state.
    fn open(&self, path: &Path) -> io::Result<Option<(File, Option<Hashed>)>> {
        let Some(file) = own::open(&self.store.root, path)? else { return Ok(None) };
        hold(&file);
        let hashed = self.store.hashed.touch(path, &file)?;
        Ok(Some((file, hashed)))
    }

    /// Hashes an open blob; removes it if its digest is not its name.
    fn rehash(&self, file: File, digest: Digest) -> io::Result<Option<Blob>> {
        let path = self.path(digest);
        let stamp = Stamp::of(&file)?;
        if let Some(checksums) = self.store.hashed.get(&path, stamp) {
            return Ok(Some(Blob::stored(file, digest, stamp.size, checksums, path)));
        }
        let mut hasher = BlobHasher::default();
        io::copy(&mut BufReader::with_capacity(BUFFER_SIZE, &file), &mut hasher)?;
        let (actual, size, checksums) = hasher.finish();
        if actual == digest {
            self.store.hashed.insert(&path, stamp, Arc::clone(&checksums));
            return Ok(Some(Blob::stored(file, digest, size, checksums, path)));
        }
        warn!(event = "blob-damaged", %digest, %actual, path = %path.display(), "damaged: a stored blob is not what it was; it is fetched again");
        fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        Ok(None)
    }

    /// Syncs a verified blob to the disk, and then gives it its name. One larger than the quota gets none.
    pub(super) fn persist(&self, file: NamedTempFile, digest: Digest, checksums: Checksums) -> io::Result<Blob> {
        let Store { quota, hashed, .. } = &*self.store;
        let size = file.as_file().metadata()?.len();
        if !quota.allows(size) {
            return Ok(Blob::apart(file.into_file(), digest, size, checksums, None));
        }
        quota.make_room(size, hashed)?;
        file.as_file().sync_all()?;
        let path = self.path(digest);
        let (file, is_stored) = self.place(file, &path)?;
        if !is_stored {
            return Ok(Blob::apart(file, digest, size, checksums, None));
        }
        hashed.insert(&path, Stamp::of(&file)?, Arc::clone(&checksums));
        Ok(Blob::stored(file, digest, size, checksums, path))
    }

    /// Gives a file its name in this scope; returns whether it has one: not if the store was removed meanwhile.
    fn place(&self, file: NamedTempFile, path: &Path) -> io::Result<(File, bool)> {
        own::make(&self.store.root, path.parent().unwrap_or(&self.folder))?;
        match file.persist(path) {
            Ok(file) => Ok((file, true)),
            Err(PersistError { error, file }) if error.kind() == io::ErrorKind::NotFound => {
                Ok((file.into_file(), false))
            }
            Err(PersistError { error, .. }) => Err(error),
        }
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
