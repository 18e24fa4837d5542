//! What must survive the process: open requests, and the versions that were sent lately.
//!
//! One thread writes the changes, all that wait in one transaction. While the disk rejects writes, the changes wait. It knows the disk and what is written there. It must never know why.

mod database;
mod waiting;
mod writer;

use std::fs::OpenOptions;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use tokio::sync::oneshot;
use tracing::{error, warn};

pub use self::database::Restored;
use self::database::{FILE, open_database, read};
pub use self::waiting::OpenRequest;
use self::waiting::Waiting;
use self::writer::{Queue, Writer};
use crate::delivery::rules::request::RequestId;
use crate::delivery::rules::versions::SentVersion;
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::topic::App;
use crate::util::clock::{Stamp, Time};
use crate::util::file::{self, make_folder, temporary_folder, try_writing};
use crate::util::sync::lock;

/// Where is kept what must survive a restart.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; else a temporary one will do where it cannot be used.
    pub is_named: bool,
}

/// Writes the state. What waits is written before it goes.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Why the last transaction failed, until one succeeds.
    failure: Arc<Mutex<Option<String>>>,
    /// Removes the folder with the state, if it is a temporary one.
    _temporary: Option<TempDir>,
}

impl State {
    /// Opens the folder, and makes it where it is missing. A file that cannot be read is set aside. Where no folder is
    /// configured and the usual one cannot be used, a temporary one is, but not beside another proxy that uses the usual
    /// one. Where an earlier process may have left versions that are lost, the state is uncertain; it knows for a while if that
    /// cut chunks of another size. Reads the disk off the async threads.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be written to, or another proxy uses it.
    pub async fn open(options: StateOptions, chunk_size: NonZeroU32) -> Result<(Self, Restored), Error> {
        let folder = options.folder.clone();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&options, chunk_size)).await;
        opened.unwrap_or_else(|panic| Err(Error::disk(&folder, io::Error::other(panic))))
    }

    fn open_blocking(options: &StateOptions, chunk_size: NonZeroU32) -> Result<(Self, Restored), Error> {
        match Self::open_in(&options.folder, None, chunk_size) {
            Err(error) if !options.is_named && !error.is_of_busy_folder() => {
                warn!(
                    event = "temporary-state",
                    hint = error.hint(),
                    "the state is a temporary one and will not survive a restart: {error}"
                );
                Self::temporary(chunk_size)
            }
            opened => opened,
        }
    }

    /// A state of its own, in a folder that goes with it.
    fn temporary(chunk_size: NonZeroU32) -> Result<(Self, Restored), Error> {
        let temporary = temporary_folder()?;
        let folder = temporary.path().to_owned();
        Self::open_in(&folder, Some(temporary), chunk_size)
    }

    fn open_in(folder: &Path, temporary: Option<TempDir>, chunk_size: NonZeroU32) -> Result<(Self, Restored), Error> {
        let open = || {
            make_folder(folder)?;
            let (database, was_damaged) = open_database(&folder.join(FILE))?;
            // A temporary state knows nothing of what an earlier process sent.
            let is_lost = was_damaged || temporary.is_some();
            let present = Stamp::of(Time::of_system());
            let mut restored = read(&database, is_lost, &present, chunk_size).map_err(io::Error::other)?;
            restored.is_temporary = temporary.is_some();
            let queue = Arc::<Queue>::default();
            let (folder, failure) = (folder.to_owned(), Arc::<Mutex<Option<String>>>::default());
            let writer = Writer {
                folder: folder.clone(),
                clock: restored.clock,
                database: Some(database),
                failure: Arc::clone(&failure),
            };
            let changes = Arc::clone(&queue);
            let writer = thread::Builder::new().name("state".into()).spawn(move || writer.run(&changes))?;
            let writer = Mutex::new(Some(writer));
            Ok((Self { folder, queue, writer, failure, _temporary: temporary }, restored))
        };
        open().map_err(|source| Error::disk(folder, source))
    }

    /// Writes an open request; the broker gets its `ack` when it is on disk, or cannot be written.
    pub fn open_request(&self, id: RequestId, request: OpenRequest, ack: Ack) {
        self.queue.change(|waiting| {
            if waiting.is_closed {
                // Nobody writes it; it is served all the same.
                ack.acknowledge();
            } else {
                waiting.open(id, request, ack);
            }
        });
    }

    /// Removes requests that are covered or given up.
    pub fn close_requests(&self, ids: Vec<RequestId>) {
        self.change(|waiting| ids.into_iter().for_each(|id| waiting.close(id)));
    }

    /// Writes the versions of an app.
    pub fn write_versions(&self, app: App, versions: Vec<SentVersion>) {
        self.change(|waiting| waiting.version(app, versions, None));
    }

    /// Queues the versions of an app at once, so that they are written in the order of the calls; the future resolves when
    /// they are on disk.
    ///
    /// # Errors
    /// The future resolves to [`Error::Disk`] if they are not.
    pub fn persist_versions(
        &self,
        app: App,
        versions: Vec<SentVersion>,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let (done, written) = oneshot::channel();
        self.change(|waiting| waiting.version(app, versions, Some(done)));
        let folder = self.folder.clone();
        async move { written.await.unwrap_or_else(|_| Err(Error::disk(&folder, io::Error::other("the state is closed")))) }
    }

    /// Writes that the proxy has its subscription at this time.
    pub fn write_present(&self, now: Time) {
        self.change(|waiting| waiting.present = Some(now));
    }

    /// Writes until when devices may hold chunks of unknown versions.
    pub fn write_uncertain(&self, until: Time) {
        self.change(|waiting| waiting.uncertain = Some(until));
    }

    /// How many changes wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.queue.waiting).len()
    }

    /// Its folder, if a file can be written there and the state is. Blocks on the disk.
    ///
    /// # Errors
    /// What the system says otherwise. What could not be written is then tried again; the next call returns the result.
    pub fn try_writing(&self) -> io::Result<&Path> {
        try_writing(&self.folder)?;
        let failure = lock(&self.failure).clone();
        if let Some(failure) = failure {
            self.change(|_| ());
            return Err(io::Error::other(failure));
        }
        Ok(&self.folder)
    }

    /// Writes what waits, and leaves the folder to another proxy; what comes after is not written. Blocks on the disk.
    pub fn close(&self) {
        self.queue.change(|waiting| waiting.is_closed = true);
        let writer = lock(&self.writer).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the writer of the state has panicked");
        }
    }

    /// Makes everybody wait who uses the state, until the guard is dropped.
    #[cfg(test)]
    pub(crate) fn block(&self) -> impl Drop {
        lock(&self.queue.waiting)
    }

    /// Changes what waits, unless it is closed.
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        self.queue.change(|waiting| {
            if !waiting.is_closed {
                change(waiting);
            }
        });
    }
}

/// Checks that a state can be kept in `folder`, or made below the nearest folder above it that is there: who checks may be
/// another user than who will run, and must not own what that one needs. A state that lies in it is not opened, since the
/// proxy that runs has it, but must be readable and writable.
///
/// # Errors
/// [`Error::Disk`] with what the system says. Blocks on the disk.
pub fn check(folder: &Path) -> Result<(), Error> {
    file::try_making_files(folder)?;
    file::try_opening(&folder.join(FILE), OpenOptions::new().read(true).write(true))
}

impl Drop for State {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::delivery::plan::ChunkPlan;
    use crate::delivery::rules::versions::{CHUNK_LIFETIME, Version};
    use crate::mqtt::topic::{Channel, Layout};
    use crate::oci::digest::Digest;

    const SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = StateOptions { folder: folder.path().join("new"), is_named: true };
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        let app = App { channel, layout: Layout::Plain, name: "a".into() };
        let request = OpenRequest { app: app.clone(), arrived: Time(7) };
        let digest = Digest::of(b"a");
        let plan = ChunkPlan::new(25, SIZE);
        let version = Version { root: Some(digest), digest, plan };
        let versions = vec![SentVersion { version, since: Time(8), last: Time(8), is_open: true, may_move: true }];

        let (state, restored) = State::open(config.clone(), SIZE).await.unwrap();
        assert!(restored.requests.is_empty() && restored.saved.versions.is_empty() && restored.saved.present.is_none());
        let busy = State::open(config.clone(), SIZE).await.unwrap_err();
        assert!(busy.to_string().contains("another proxy uses it"), "{busy}");
        for id in 0..3 {
            state.open_request(id, request.clone(), Ack::default());
        }
        state.close_requests(vec![0, 2]);
        state.persist_versions(app.clone(), versions.clone()).await.unwrap();
        state.write_present(Time(9));
        drop(state);

        let (state, again) = State::open(config.clone(), SIZE).await.unwrap();
        assert_eq!(again.requests, [(1, request)]);
        assert_eq!(again.saved.versions, [(app.clone(), versions.clone())]);
        assert_eq!(again.saved.present, Some(Time(9)));
        assert_eq!(again.instance_id, restored.instance_id);
        let [secret, kept] = [&restored, &again].map(|restored| restored.client_secret.expose_secret().to_owned());
        assert_eq!((secret.len(), &kept), (32, &secret));
        assert!(!format!("{again:?}").contains(&secret) && !again.is_temporary);
        drop(state);

        fs::write(config.folder.join(FILE), "not a database").unwrap();
        let now = Time::of_system();
        let (_state, fresh) = State::open(config.clone(), SIZE).await.unwrap();
        assert!(fresh.requests.is_empty());
        assert!(fresh.saved.uncertain_until >= now + CHUNK_LIFETIME, "its versions are lost");
        assert!(config.folder.join("state.redb.damaged").exists());
    }

    #[tokio::test]
    async fn a_usual_folder_that_another_proxy_uses_is_not_replaced_by_a_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let options = StateOptions { folder: folder.path().to_owned(), is_named: false };
        let (state, restored) = State::open(options.clone(), SIZE).await.unwrap();
        assert_eq!((state.folder.as_path(), restored.saved.uncertain_until), (folder.path(), Time::default()));
        let busy = State::open(options.clone(), SIZE).await.unwrap_err();
        assert!(busy.code() == "disk" && busy.to_string().contains("another proxy uses it"), "{busy}");
        assert!(busy.hint().is_some_and(|hint| hint.contains("PROXY_STATE_DIR")), "{busy:?}");
        drop(state);
        State::open(options, SIZE).await.unwrap();
    }

    #[tokio::test]
    async fn a_temporary_state_is_uncertain() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = StateOptions { folder: file.path().join("below"), is_named: false };
        let now = Time::of_system();
        let (state, restored) = State::open(options.clone(), SIZE).await.unwrap();
        assert_ne!(state.folder, options.folder);
        assert!(restored.is_temporary && restored.saved.uncertain_until >= now + CHUNK_LIFETIME, "{restored:?}");
    }

    #[test]
    fn a_check_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [file, deep] = ["file", "a/b/c"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        for usable in [folder.path(), &deep] {
            check(usable).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
        for unusable in [&*file, &file.join("below"), Path::new("/dev/null/state")] {
            let error = check(unusable).unwrap_err().to_string();
            assert!(error.contains(&unusable.display().to_string()), "{error}");
        }
        fs::create_dir_all(deep.join(FILE)).unwrap();
        assert_eq!(check(&deep).unwrap_err().code(), "disk", "a state that cannot be written");
    }
}
