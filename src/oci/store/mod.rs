//! The store: verified blobs by digest on disk, and what tags meant when they were last looked up.
//!
//! ```text
//! {folder}/v1/salt                     hides credentials in the names of scopes
//! {folder}/v1/ingest/                  downloads on their way; nothing here is ever read back
//! {folder}/v1/{scope}/blobs/{sha256}   manifests, configurations and layers
//! {folder}/v1/{scope}/tags/{sha256}    what a tag meant, and when
//! ```
//!
//! A blob gets its name when all of it is there, checked and synced, so a crash at any moment leaves no wrong blob; and it
//! is hashed again when this process first reads it, or when its file is not as it was. What was fetched under some
//! credentials lies in a [`Scope`] of its own, and is found under the same ones only. Any number of processes may share a
//! folder: they share nothing but files, which they replace by renaming and hold by shared locks while they are open.

mod eviction;
mod options;
mod spool;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::Semaphore;
use tracing::warn;

use self::eviction::Usage;
pub use self::options::StoreOptions;
pub use self::spool::Spool;
use crate::error::Error;
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::registry::MAX_MANIFEST_SIZE;
use crate::util::file;
use crate::util::metrics::Meters;
use crate::util::sync::lock;

/// Blobs that are hashed again at once.
const MAX_REHASHES: usize = 2;
/// Files that are remembered as hashed by this process.
const MAX_KNOWN: usize = 1 << 16;
/// Disk space that one small file is taken to need, bytes.
const SMALL_FILE: u64 = 4096;
/// The file with the salt, in the first of the [`folders`].
const SALT: &str = "salt";
/// Bytes of the salt.
const SALT_SIZE: usize = 32;

/// The store's folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    limit: u64,
    salt: Vec<u8>,
    usage: Mutex<Usage>,
    /// How the files were that this process hashed.
    known: Mutex<HashMap<PathBuf, Stamp>>,
    rehashes: Semaphore,
    meters: Meters,
    /// Removes the folder with the store, if it is a temporary one.
    _temporary: Option<TempDir>,
}

/// What changes when somebody writes to a file, or puts another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Store {
    /// Opens the folder, makes it where it is missing, and clears what a crash left. Where nobody named a folder and the
    /// usual one cannot be used, a temporary one has to do.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be written to.
    pub fn open(config: &StoreOptions) -> Result<Arc<Self>, Error> {
        match Self::open_in(&config.folder, config.limit, None) {
            Err(error) if !config.named => {
                let temporary = file::temporary_folder()?;
                let folder = temporary.path().to_owned();
                warn!(event = "temporary-store", folder = %folder.display(), hint = error.hint(), "the store is a temporary one: {error}");
                Self::open_in(&folder, config.limit, Some(temporary))
            }
            opened => opened,
        }
    }

    fn open_in(folder: &Path, limit: u64, temporary: Option<TempDir>) -> Result<Arc<Self>, Error> {
        let [root, ingest] = folders(folder);
        let open = || {
            file::make_folder(&ingest)?;
            let salt = salt(&root)?;
            let (usage, known) = (Mutex::default(), Mutex::default());
            let (rehashes, meters) = (Semaphore::new(MAX_REHASHES), Meters::default());
            let store = Arc::new(Self { root, limit, salt, usage, known, rehashes, meters, _temporary: temporary });
            store.make_room(0)?;
            Ok(store)
        };
        open().map_err(|source| Error::disk(folder, source))
    }

    /// The scope of what belongs together as `identity` says. It takes no room before something is in it.
    #[must_use]
    pub fn scope(self: &Arc<Self>, identity: &[u8]) -> Scope {
        let name = &Digest::of(&[&self.salt, identity].concat()).hex()[..32];
        Scope { folder: self.root.join(name), store: Arc::clone(self) }
    }

    /// Its folder, if a file can be written there. Blocks on the disk.
    ///
    /// # Errors
    /// What the system says otherwise.
    pub fn try_writing(&self) -> io::Result<&Path> {
        file::try_writing(&self.root.join("ingest")).map(|()| &*self.root)
    }

    /// A file on its way to become a blob.
    fn ingest(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new().prefix("").tempfile_in(self.root.join("ingest"))?;
        hold(file.as_file());
        Ok(file)
    }

    /// Whether a file of `size` bytes is not larger than the whole store may be.
    fn can_keep(&self, size: u64) -> bool {
        size.next_multiple_of(SMALL_FILE) <= self.limit
    }

    fn knows(&self, path: &Path, stamp: Stamp) -> bool {
        lock(&self.known).get(path) == Some(&stamp)
    }

    /// Notes that the file at `path` was hashed as it is now.
    fn learn(&self, path: &Path, stamp: Stamp) {
        let mut known = lock(&self.known);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(path.to_owned(), stamp);
    }
}

/// The part of the store that one scope sees.
#[derive(Debug, Clone)]
pub struct Scope {
    store: Arc<Store>,
    folder: PathBuf,
}

/// What a tag meant.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Remembered {
    /// The digest of its manifest.
    pub digest: Digest,
    /// When the registry said so.
    pub confirmed: SystemTime,
}

impl Remembered {
    /// Whether the registry said so less than `ttl` ago.
    #[must_use]
    pub fn is_fresh(&self, ttl: Duration) -> bool {
        self.confirmed.elapsed().is_ok_and(|age| age < ttl)
    }
}

impl Scope {
    /// The blob `digest`, if it is here and whole. A damaged one is removed.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be read.
    pub async fn blob(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let found = self.find(digest).await?;
        let meters = &self.store.meters;
        if found.is_some() { &meters.store_hits } else { &meters.store_misses }.increment(1);
        Ok(found)
    }

    async fn find(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let path = self.path(digest);
        let opened = self.blocking(move |scope| scope.open(&path)).await?;
        let Some((file, known)) = opened else { return Ok(None) };
        if let Some(size) = known {
            return Ok(Some(Blob::verified(file, digest, size)));
        }
        let _permit = self.store.rehashes.acquire().await;
        self.blocking(move |scope| scope.rehash(file, digest)).await
    }

    /// All of a small blob, such as a manifest.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has more than [`MAX_MANIFEST_SIZE`] bytes, [`Error::Disk`] if it cannot be read.
    pub async fn read(&self, blob: Blob) -> Result<Bytes, Error> {
        if blob.size() > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { object: blob.digest().to_string(), limit: MAX_MANIFEST_SIZE });
        }
        Ok(self.blocking(move |_| Ok(blob.read())).await??.into())
    }

    /// Keeps a small blob; returns its digest.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be written.
    pub async fn keep(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let mut spool = self.spool(Descriptor { digest, size: bytes.len() as u64, media_type: String::new() }).await?;
        spool.write(bytes).await?;
        spool.commit().await.map(|_| digest)
    }

    /// Opens a spool for a blob that is to be fetched.
    ///
    /// # Errors
    /// [`Error::Disk`] if no file can be made.
    pub async fn spool(&self, expected: Descriptor) -> Result<Spool, Error> {
        let file = self.blocking(|scope| scope.store.ingest());
        Ok(Spool::open(self.clone(), expected, file.await?))
    }

    /// A file without a name, for what is derived from blobs and not kept.
    pub(crate) fn scratch(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.store.root.join("ingest"))
    }

    /// What `tag`, in full as a reference has it, meant.
    ///
    /// # Errors
    /// [`Error::Disk`] if the note cannot be read. One that says nothing intelligible is none.
    pub async fn recall(&self, tag: &str) -> Result<Option<Remembered>, Error> {
        let path = self.tag_path(tag);
        let note = self.blocking(move |_| match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            note => {
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                note.map(Some)
            }
        });
        Ok(note.await?.and_then(|note| serde_json::from_slice(&note).ok()))
    }

    /// Notes what `tag` means now.
    ///
    /// # Errors
    /// [`Error::Disk`] if the note cannot be written.
    pub async fn remember(&self, tag: &str, digest: Digest) -> Result<(), Error> {
        let path = self.tag_path(tag);
        let note = Remembered { digest, confirmed: SystemTime::now() };
        self.blocking(move |scope| {
            if !scope.store.can_keep(SMALL_FILE) {
                return Ok(());
            }
            scope.store.make_room(SMALL_FILE)?;
            let mut file = scope.store.ingest()?;
            serde_json::to_writer(&mut file, &note)?;
            file::make_folder(&scope.folder.join("tags"))?;
            file.persist(path)?;
            Ok(())
        })
        .await
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    fn tag_path(&self, tag: &str) -> PathBuf {
        self.folder.join("tags").join(Digest::of(tag.as_bytes()).hex())
    }

    /// Opens a blob and notes its use; with its size, if this process hashed it as it is.
    fn open(&self, path: &Path) -> io::Result<Option<(File, Option<u64>)>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        hold(&file);
        // Under the lock: a use that is noted by another thread meanwhile is not to look like a change.
        let mut known = lock(&self.store.known);
        let is_known = known.get(path) == Some(&Stamp::of(&file)?);
        // A folder that another user owns can be read all the same; then the order of use is that of fetching.
        let _ = file.set_modified(SystemTime::now());
        let now = Stamp::of(&file)?;
        if is_known {
            known.insert(path.to_owned(), now);
        }
        Ok(Some((file, is_known.then_some(now.size))))
    }

    /// Hashes an open blob; removes it if it is not what its name says.
    fn rehash(&self, file: File, digest: Digest) -> io::Result<Option<Blob>> {
        let path = self.path(digest);
        let before = Stamp::of(&file)?;
        let size = before.size;
        let blob = Blob::verified(file, digest, size);
        if self.store.knows(&path, before) {
            return Ok(Some(blob));
        }
        let actual = Digest::of_reader(blob.reader())?;
        if actual == digest {
            self.store.learn(&path, before);
            return Ok(Some(blob));
        }
        warn!(event = "blob-damaged", %digest, %actual, path = %path.display(), "damaged: a stored blob is not what it was; it is fetched again");
        fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        Ok(None)
    }

    /// Runs what waits for the disk, where it may wait.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let scope = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&scope)).await;
        done.map_err(io::Error::other).flatten().map_err(|source| Error::disk(&self.store.root, source))
    }
}

/// Tells other processes that the file is open. File systems without locks let it go at that.
fn hold(file: &File) {
    let _ = file.try_lock_shared();
}

/// The folders in which a store in `folder` makes files.
fn folders(folder: &Path) -> [PathBuf; 2] {
    let root = folder.join("v1");
    let ingest = root.join("ingest");
    [root, ingest]
}

/// Checks that a store can be kept in `folder`, or made below the nearest folder above it that is there.
///
/// # Errors
/// As [`crate::state::check`].
pub fn check(folder: &Path) -> Result<(), Error> {
    let [root, ingest] = folders(folder);
    file::try_making_files(&root)?;
    file::try_making_files(&ingest)?;
    file::try_opening(&root.join(SALT), OpenOptions::new().read(true))
}

/// The folder's salt; the first process makes it.
fn salt(root: &Path) -> io::Result<Vec<u8>> {
    let path = root.join(SALT);
    if !path.exists() {
        let mut file = NamedTempFile::new_in(root)?;
        let random = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
        file.write_all(&random)?;
        file.as_file().sync_all()?;
        // Not replaced where another process was faster.
        let _ = file.persist_noclobber(&path);
    }
    let salt = fs::read(&path)?;
    if salt.len() == SALT_SIZE {
        Ok(salt)
    } else {
        Err(io::Error::other("the file salt is damaged; remove the folder"))
    }
}
