//! The file: its tables, and what is read from them and written to them.

use std::fs;
use std::io;
use std::path::Path;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tracing::warn;
use uuid::Uuid;

use super::change::{Change, OpenRequest};
use crate::delivery::rules::action::Saved;
use crate::delivery::rules::request::RequestId;
use crate::util::clock::Time;
use crate::util::json;

/// The file in the state folder.
pub(super) const FILE: &str = "state.redb";
/// Memory for pages of the database, bytes.
#[doc(alias = "bound")]
const CACHE_SIZE: usize = 1 << 20;

const REQUESTS: TableDefinition<RequestId, &[u8]> = TableDefinition::new("requests");
const VERSIONS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("versions");
const INSTANCE: TableDefinition<&str, &str> = TableDefinition::new("instance");
const TIMES: TableDefinition<&str, u64> = TableDefinition::new("times");
const ID: &str = "id";
const PRESENT: &str = "present";
const UNCERTAIN: &str = "unsure until";

/// What an earlier process wrote to disk.
#[derive(Debug, Default)]
pub struct Restored {
    /// The id that was generated for this proxy, now or then.
    pub instance_id: String,
    /// Requests that were not covered, oldest first.
    pub requests: Vec<(RequestId, OpenRequest)>,
    /// What the rules of delivery remember.
    pub saved: Saved,
}

/// How the file is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_SIZE).set_check_integrity_on_open(true);
    builder
}

/// Opens the file, or a new one in place of one that is damaged.
pub(super) fn open_database(path: &Path) -> io::Result<Database> {
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
    warn!(event = "state-set-aside", file = %path.display(), aside = %aside.display(), "the state is damaged and set aside: {failed}");
    fs::rename(path, aside)?;
    open().map_err(io::Error::other)
}

/// Whether a file that was opened and read does not have in it what it should.
fn means_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Reads what an earlier process wrote.
pub(super) fn read(database: &Database) -> Result<Restored, redb::Error> {
    let mut restored = Restored::default();
    // Makes the tables where they are missing.
    let transaction = database.begin_write()?;
    {
        transaction.open_table(REQUESTS)?;
        transaction.open_table(VERSIONS)?;
        transaction.open_table(TIMES)?;
        let mut instance = transaction.open_table(INSTANCE)?;
        let known = instance.get(ID)?.map(|id| id.value().to_owned());
        restored.instance_id = known.unwrap_or_else(|| Uuid::new_v4().to_string());
        instance.insert(ID, &*restored.instance_id)?;
    }
    transaction.commit()?;
    let transaction = database.begin_read()?;
    for entry in transaction.open_table(REQUESTS)?.iter()? {
        let (id, request) = entry?;
        // What another release wrote is of no use; these are matters of minutes.
        restored.requests.extend(serde_json::from_slice(request.value()).ok().map(|request| (id.value(), request)));
    }
    for entry in transaction.open_table(VERSIONS)?.iter()? {
        let (app, versions) = entry?;
        let app = serde_json::from_slice(app.value());
        restored.saved.versions.extend(app.ok().zip(serde_json::from_slice(versions.value()).ok()));
    }
    let times = transaction.open_table(TIMES)?;
    restored.saved.present = times.get(PRESENT)?.map(|time| Time(time.value()));
    restored.saved.uncertain_until = times.get(UNCERTAIN)?.map_or(Time::default(), |time| Time(time.value()));
    Ok(restored)
}

/// Writes changes in one transaction.
pub(super) fn write(database: &Database, batch: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut requests = transaction.open_table(REQUESTS)?;
        let mut versions_table = transaction.open_table(VERSIONS)?;
        let mut times = transaction.open_table(TIMES)?;
        for change in batch {
            match change {
                Change::Open(id, request, _) => drop(requests.insert(id, &*json(request))?),
                Change::Close(ids) => {
                    for id in ids {
                        requests.remove(id)?;
                    }
                }
                Change::Versions(app, versions, _) if versions.is_empty() => {
                    drop(versions_table.remove(&*json(app))?);
                }
                Change::Versions(app, versions, _) => drop(versions_table.insert(&*json(app), &*json(versions))?),
                Change::Present(time) => drop(times.insert(PRESENT, time.0)?),
                Change::Uncertain(until) => drop(times.insert(UNCERTAIN, until.0)?),
                Change::Again => {}
            }
        }
    }
    transaction.commit()?;
    Ok(())
}
