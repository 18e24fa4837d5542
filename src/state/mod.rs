//! What must survive the process: open requests, and what was sent lately.
//!
//! One thread writes it all, in the order it is told, as many as wait in one transaction. Who has to be sure waits for
//! the disk; everything else is written along with that. While the disk takes nothing, what has to be written waits.

mod options;
mod writer;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};
use uuid::Uuid;

pub use self::options::StateOptions;
use self::writer::Writer;
use crate::delivery::rules::schedule::RequestId;
use crate::delivery::rules::versions::Sent;
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::topic::App;
use crate::util::clock::Time;
use crate::util::file::{self, make_folder, temporary_folder, try_writing};
use crate::util::sync::lock;

/// The file in the state folder.
const FILE: &str = "state.redb";
/// Memory that the database may keep pages in, bytes.
const CACHE_SIZE: usize = 1 << 20;
/// Changes that may wait to be written.
#[doc(alias = "bound")]
const QUEUE: usize = 4096;

const REQUESTS: TableDefinition<RequestId, &[u8]> = TableDefinition::new("requests");
const VERSIONS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("versions");
const INSTANCE: TableDefinition<&str, &str> = TableDefinition::new("instance");
const TIMES: TableDefinition<&str, u64> = TableDefinition::new("times");
const ID: &str = "id";
const PRESENT: &str = "present";
const UNSURE: &str = "unsure until";

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// What is asked for.
    pub app: App,
    /// When it arrived.
    pub arrived: Time,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Left {
    /// The id that was made up for this proxy, now or then.
    pub instance_id: String,
    /// Requests that were not covered, oldest first.
    pub requests: Vec<(RequestId, OpenRequest)>,
    /// What was sent, by app.
    pub versions: Vec<(App, Vec<Sent>)>,
    /// Until when devices may have chunks of which nothing is known.
    pub unsure_until: Time,
    /// When the proxy last had its subscription; nothing if it never had, or all this was lost.
    pub present: Option<Time>,
}

/// A change to be written.
#[derive(Debug)]
enum Change {
    Open(RequestId, OpenRequest, Ack),
    Close(Vec<RequestId>),
    Versions(App, Vec<Sent>, Option<oneshot::Sender<Result<(), Error>>>),
    Present(Time),
    Unsure(Time),
    /// Nothing new: what could not be written is tried again.
    Again,
}

/// Writes the state. What waits is written before it goes.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Gone when it is closed.
    changes: Mutex<Option<mpsc::Sender<Change>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Why nothing can be written, as long as that is so.
    failure: Arc<Mutex<Option<String>>>,
    /// Removes the folder with the state, if it is a temporary one.
    temporary: Option<TempDir>,
}

impl State {
    /// Opens the folder, and makes it where it is missing. A file that cannot be read is set aside. Where nobody named
    /// a folder and the usual one cannot be used, a temporary one has to do.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be written to, or another proxy uses it.
    pub fn open(config: &StateOptions) -> Result<(Self, Left), Error> {
        match Self::open_in(&config.folder, None) {
            Err(error) if !config.named => {
                warn!(hint = error.hint(), "the state is a temporary one and will not survive a restart: {error}");
                Self::temporary()
            }
            opened => opened,
        }
    }

    /// As [`State::open`], for one who goes on from what the proxy did that used the folder: where that still uses it, no
    /// temporary one will do.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn take_over(config: &StateOptions) -> Result<(Self, Left), Error> {
        match Self::open_in(&config.folder, None) {
            Err(Error::Disk { source, .. }) if !config.named && source.kind() != io::ErrorKind::ResourceBusy => {
                Self::open(config)
            }
            opened => opened,
        }
    }

    /// Whether it is a temporary one, which knows of nothing that was before it.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// A state of its own, in a folder that goes with it.
    fn temporary() -> Result<(Self, Left), Error> {
        let temporary = temporary_folder()?;
        let folder = temporary.path().to_owned();
        Self::open_in(&folder, Some(temporary))
    }

    fn open_in(folder: &Path, temporary: Option<TempDir>) -> Result<(Self, Left), Error> {
        let open = || {
            make_folder(folder)?;
            let database = open_database(&folder.join(FILE))?;
            let left = read(&database).map_err(io::Error::other)?;
            let (changes, waiting) = mpsc::channel(QUEUE);
            let (folder, failure) = (folder.to_owned(), Arc::<Mutex<Option<String>>>::default());
            let writer = Writer { folder: folder.clone(), database: Some(database), failure: Arc::clone(&failure) };
            let writer = thread::Builder::new().name("state".into()).spawn(move || writer.run(waiting))?;
            let (changes, writer) = (Mutex::new(Some(changes)), Mutex::new(Some(writer)));
            Ok((Self { folder, changes, writer, failure, temporary }, left))
        };
        open().map_err(|source| Error::disk(folder, source))
    }

    /// Writes an open request; the broker gets its `receipt` when it is on the disk.
    pub fn open_request(&self, id: RequestId, request: OpenRequest, receipt: Ack) {
        self.send(Change::Open(id, request, receipt));
    }

    /// Removes requests that are covered or given up.
    pub fn close_requests(&self, ids: Vec<RequestId>) {
        self.send(Change::Close(ids));
    }

    /// Writes what was sent of an app, when there is time.
    pub fn note_versions(&self, app: App, versions: Vec<Sent>) {
        self.send(Change::Versions(app, versions, None));
    }

    /// Writes what is about to be sent of an app, and returns when it is on the disk.
    ///
    /// # Errors
    /// [`Error::Disk`] if it is not.
    pub async fn keep_versions(&self, app: App, versions: Vec<Sent>) -> Result<(), Error> {
        let (done, kept) = oneshot::channel();
        if let Some(changes) = self.changes() {
            // If the writer is gone, so is the other end of this.
            let _ = changes.send(Change::Versions(app, versions, Some(done))).await;
        }
        kept.await.unwrap_or_else(|_| Err(Error::disk(&self.folder, io::Error::other("the writer has ended"))))
    }

    /// Notes that the proxy has its subscription at this time.
    pub fn be_present(&self, now: Time) {
        self.send(Change::Present(now));
    }

    /// Notes until when devices may have chunks of which nothing is known.
    pub fn be_unsure(&self, until: Time) {
        self.send(Change::Unsure(until));
    }

    /// How many changes wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.changes().map_or(0, |changes| changes.max_capacity() - changes.capacity())
    }

    /// Its folder, if a file can be written there and the state is. Blocks on the disk.
    ///
    /// # Errors
    /// What the system says otherwise. What could not be written is tried again then, which the next call tells of.
    pub fn try_writing(&self) -> io::Result<&Path> {
        try_writing(&self.folder)?;
        let failure = lock(&self.failure).clone();
        if let Some(failure) = failure {
            self.send(Change::Again);
            return Err(io::Error::other(failure));
        }
        Ok(&self.folder)
    }

    /// Writes what waits, and leaves the folder to another proxy; what comes after is not written. Blocks on the disk.
    pub fn close(&self) {
        drop(lock(&self.changes).take());
        let writer = lock(&self.writer).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the writer of the state has panicked");
        }
    }

    fn changes(&self) -> Option<mpsc::Sender<Change>> {
        lock(&self.changes).clone()
    }

    /// Tells the writer, unless too much waits. A request that is not written is served all the same, one that is not
    /// removed is served again by the next process, and the rest is written later or is not needed.
    fn send(&self, change: Change) {
        let Some(changes) = self.changes() else { return };
        if let Err(TrySendError::Full(change) | TrySendError::Closed(change)) = changes.try_send(change) {
            warn!(folder = %self.folder.display(), "the disk is too slow: a change of the state was left out");
            // The broker waits for no more than some.
            if let Change::Open(_, _, receipt) = change {
                receipt.confirm();
            }
        }
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

/// How the file is opened.
fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_SIZE).set_check_integrity_on_open(true);
    builder
}

/// Opens the file, or a new one in place of one that is damaged.
fn open_database(path: &Path) -> io::Result<Database> {
    let open = || builder().create(path);
    let failed = match open() {
        Ok(database) => return Ok(database),
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another proxy uses it"));
        }
        Err(DatabaseError::Storage(StorageError::Io(error))) if !means_damage(error.kind()) => return Err(error),
        Err(error) => error,
    };
    let aside = path.with_extension("redb.damaged");
    warn!(file = %path.display(), aside = %aside.display(), "the state is damaged and set aside: {failed}");
    fs::rename(path, aside)?;
    open().map_err(io::Error::other)
}

/// Whether a file that was opened and read does not have in it what it should.
fn means_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn read(database: &Database) -> Result<Left, redb::Error> {
    let mut left = Left::default();
    // Makes the tables where they are missing.
    let transaction = database.begin_write()?;
    {
        transaction.open_table(REQUESTS)?;
        transaction.open_table(VERSIONS)?;
        transaction.open_table(TIMES)?;
        let mut instance = transaction.open_table(INSTANCE)?;
        let known = instance.get(ID)?.map(|id| id.value().to_owned());
        left.instance_id = known.unwrap_or_else(|| Uuid::new_v4().to_string());
        instance.insert(ID, &*left.instance_id)?;
    }
    transaction.commit()?;
    let transaction = database.begin_read()?;
    for entry in transaction.open_table(REQUESTS)?.iter()? {
        let (id, request) = entry?;
        // What another release wrote is of no use; these are matters of minutes.
        left.requests.extend(serde_json::from_slice(request.value()).ok().map(|request| (id.value(), request)));
    }
    for entry in transaction.open_table(VERSIONS)?.iter()? {
        let (app, versions) = entry?;
        let app = serde_json::from_slice(app.value());
        left.versions.extend(app.ok().zip(serde_json::from_slice(versions.value()).ok()));
    }
    let times = transaction.open_table(TIMES)?;
    left.present = times.get(PRESENT)?.map(|time| Time(time.value()));
    left.unsure_until = times.get(UNSURE)?.map_or(Time::default(), |time| Time(time.value()));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::delivery::rules::versions::{Candidate, Versions};
    use crate::mqtt::topic::{Channel, Layout};
    use crate::oci::digest::Digest;

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = StateOptions { folder: folder.path().join("new"), named: true };
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        let app = App { channel, layout: Layout::Plain, name: "a".into() };
        let request = OpenRequest { app: app.clone(), arrived: Time(7) };
        let mut versions = Versions::default();
        let digest = Digest::of(b"a");
        let module = Candidate { root: digest, digest, size: 25, may_move: true };
        versions.begin(&app, module, NonZeroU32::new(10).unwrap(), Time(8)).unwrap();

        let (state, left) = State::open(&config).unwrap();
        assert!(left.requests.is_empty() && left.versions.is_empty() && left.present.is_none());
        let busy = State::open(&config).unwrap_err();
        assert!(busy.to_string().contains("another proxy uses it"), "{busy}");
        for id in 0..3 {
            state.open_request(id, request.clone(), Ack::default());
        }
        state.close_requests(vec![0, 2]);
        state.keep_versions(app.clone(), versions.of(&app).to_vec()).await.unwrap();
        state.be_present(Time(9));
        drop(state);

        let (state, again) = State::open(&config).unwrap();
        assert_eq!(again.requests, [(1, request)]);
        assert_eq!(again.versions, [(app.clone(), versions.of(&app).to_vec())]);
        assert_eq!(again.present, Some(Time(9)));
        assert_eq!(again.instance_id, left.instance_id);
        drop(state);

        fs::write(config.folder.join(FILE), "not a database").unwrap();
        let (_state, fresh) = State::open(&config).unwrap();
        assert!(fresh.requests.is_empty());
        assert!(config.folder.join("state.redb.damaged").exists());
    }
}
