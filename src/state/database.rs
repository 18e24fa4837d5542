//! The file: its tables, what is read from them, and the changes that are written to them.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use redb::{Builder, Database, DatabaseError, ReadableTable, StorageError, Table, TableDefinition};
use secrecy::SecretString;
use tracing::warn;
use uuid::Uuid;

use super::waiting::{OpenRequest, Waiting};
use crate::delivery::rules::action::Saved;
use crate::delivery::rules::request::RequestId;
use crate::delivery::rules::versions::CHUNK_LIFETIME;
use crate::util::clock::{Clock, Elapsed, Stamp, Time};
use crate::util::json;

/// The file in the state folder.
pub(super) const FILE: &str = "state.redb";
/// Memory for pages of the database, bytes.
#[doc(alias = "bound")]
const CACHE_SIZE: usize = 1 << 20;

const REQUESTS: TableDefinition<RequestId, &[u8]> = TableDefinition::new("requests");
const VERSIONS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("versions");
const INSTANCE: TableDefinition<&str, &str> = TableDefinition::new("instance");
/// Times, and the size of chunks.
const TIMES: TableDefinition<&str, u64> = TableDefinition::new("times");
const ID: &str = "id";
const CLIENT_SECRET: &str = "client secret";
const PRESENT: &str = "present";
const UNCERTAIN: &str = "unsure until";
const RECUT: &str = "recut until";
const CHUNK_SIZE: &str = "chunk size";
/// The stamp of the last transaction.
const BOOT_ID: &str = "boot id";
const NOW: &str = "now";
const UPTIME: &str = "uptime";

/// What an earlier process wrote to disk.
#[derive(Debug)]
pub struct Restored {
    /// The id that was generated for this proxy, now or then.
    pub instance_id: String,
    /// The secret part of its MQTT client identifiers, generated as well.
    pub client_secret: SecretString,
    /// Whether nothing of this will survive the process.
    pub is_temporary: bool,
    /// Requests that were not covered, oldest first.
    pub requests: Vec<(RequestId, OpenRequest)>,
    /// What the rules of delivery remember.
    pub saved: Saved,
    /// The clock of all these times.
    pub clock: Clock,
}

/// How the file is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_SIZE).set_check_integrity_on_open(true);
    builder
}

/// Opens the file, or a new one in place of one that is damaged. Returns whether it was damaged.
pub(super) fn open_database(path: &Path) -> io::Result<(Database, bool)> {
    let open = || builder().create(path);
    let failed = match open() {
        Ok(database) => return Ok((database, false)),
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another proxy uses it"));
        }
        Err(DatabaseError::Storage(StorageError::Io(error))) if !means_damage(error.kind()) => return Err(error),
        Err(error) => error,
    };
    let aside = path.with_extension("redb.damaged");
    warn!(event = "state-set-aside", file = %path.display(), aside = %aside.display(), "the state is damaged and set aside: {failed}");
    fs::rename(path, aside)?;
    Ok((open().map_err(io::Error::other)?, true))
}

/// Whether a file that was opened and read does not have in it what it should.
fn means_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Reads what an earlier process wrote, and removes rows that cannot be read. If `is_lost`, or where such a row has
/// versions, devices may hold chunks of unknown versions from now on for [`CHUNK_LIFETIME`]; that is written too, and so it is
/// if nobody knows how long ago the last transaction was. The same for chunks of another size than `chunk_size`, unless the
/// last process is known to have had the same.
pub(super) fn read(
    database: &Database,
    is_lost: bool,
    present: &Stamp,
    chunk_size: NonZeroU32,
) -> Result<Restored, redb::Error> {
    let transaction = database.begin_write()?;
    let mut restored;
    {
        // Makes the tables where they are missing.
        let mut instance = transaction.open_table(INSTANCE)?;
        let mut times = transaction.open_table(TIMES)?;
        let last = stamp(&instance, &times)?;
        let elapsed = last.as_ref().map_or(Elapsed::Unknown, |last| last.elapsed(present));
        let now = match (&last, elapsed) {
            // A time that cannot be compared counts as the present.
            (Some(last), Elapsed::Exactly(elapsed) | Elapsed::AtLeast(elapsed)) => last.time + elapsed,
            (Some(last), Elapsed::Unknown) => last.time,
            (None, _) => present.time,
        };
        restored = Restored {
            instance_id: kept(&mut instance, ID, || Uuid::new_v4().to_string())?,
            client_secret: kept(&mut instance, CLIENT_SECRET, || Uuid::new_v4().simple().to_string())?.into(),
            is_temporary: false,
            requests: Vec::new(),
            saved: Saved::default(),
            clock: Clock::from(now),
        };
        // A request is a matter of minutes; its device asks again.
        transaction.open_table(REQUESTS)?.retain(|id, request| {
            let request = serde_json::from_slice(request).ok();
            let is_readable = request.is_some();
            restored.requests.extend(request.map(|request| (id, request)));
            is_readable
        })?;
        let mut unreadable: usize = 0;
        transaction.open_table(VERSIONS)?.retain(|app, versions| {
            let row = serde_json::from_slice(app).ok().zip(serde_json::from_slice(versions).ok());
            unreadable += usize::from(row.is_none());
            let is_readable = row.is_some();
            restored.saved.versions.extend(row);
            is_readable
        })?;
        if unreadable > 0 {
            warn!(
                event = "versions-lost",
                apps = unreadable,
                "the versions of some apps cannot be read and are removed"
            );
        }
        let is_unknown = elapsed == Elapsed::Unknown && !restored.saved.versions.is_empty();
        restored.saved.present = times.get(PRESENT)?.map(|time| Time(time.value()));
        let mut uncertain_until = times.get(UNCERTAIN)?.map_or(Time::default(), |time| Time(time.value()));
        if is_lost || is_unknown || unreadable > 0 {
            uncertain_until = uncertain_until.max(now + CHUNK_LIFETIME);
            times.insert(UNCERTAIN, uncertain_until.0)?;
        }
        restored.saved.uncertain_until = uncertain_until;
        let chunk_size = u64::from(chunk_size.get());
        let before = times.insert(CHUNK_SIZE, chunk_size)?.map(|size| size.value());
        if is_lost || before.is_some_and(|size| size != chunk_size) {
            times.insert(RECUT, (now + CHUNK_LIFETIME).0)?;
        }
        restored.saved.recut_until = times.get(RECUT)?.map_or(Time::default(), |time| Time(time.value()));
        write_stamp(&mut instance, &mut times, &Stamp { time: now, ..present.clone() })?;
    }
    transaction.commit()?;
    Ok(restored)
}

/// What was made up under this key, now or by an earlier process.
fn kept(
    instance: &mut Table<'_, &'static str, &'static str>,
    key: &'static str,
    make_up: impl FnOnce() -> String,
) -> Result<String, redb::Error> {
    let known = instance.get(key)?.map(|value| value.value().to_owned());
    let value = known.unwrap_or_else(make_up);
    instance.insert(key, &*value)?;
    Ok(value)
}

/// The stamp of the last transaction; nothing if there was none, or another release wrote it.
fn stamp(
    instance: &impl ReadableTable<&'static str, &'static str>,
    times: &impl ReadableTable<&'static str, u64>,
) -> Result<Option<Stamp>, redb::Error> {
    let (boot_id, now, uptime) = (instance.get(BOOT_ID)?, times.get(NOW)?, times.get(UPTIME)?);
    Ok(boot_id.zip(now).zip(uptime).map(|((boot_id, now), uptime)| Stamp {
        time: Time(now.value()),
        boot_id: boot_id.value().to_owned(),
        uptime: Duration::from_millis(uptime.value()),
    }))
}

fn write_stamp(
    instance: &mut Table<'_, &'static str, &'static str>,
    times: &mut Table<'_, &'static str, u64>,
    stamp: &Stamp,
) -> Result<(), redb::Error> {
    instance.insert(BOOT_ID, &*stamp.boot_id)?;
    times.insert(NOW, stamp.time.0)?;
    times.insert(UPTIME, u64::try_from(stamp.uptime.as_millis()).unwrap_or(u64::MAX))?;
    Ok(())
}

/// Writes changes in one transaction, with its stamp.
pub(super) fn write(database: &Database, changes: &Waiting, now: &Stamp) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut instance = transaction.open_table(INSTANCE)?;
        let mut requests = transaction.open_table(REQUESTS)?;
        let mut versions_table = transaction.open_table(VERSIONS)?;
        let mut times = transaction.open_table(TIMES)?;
        for (id, (request, _)) in &changes.opened {
            requests.insert(id, &*json(request))?;
        }
        for id in &changes.closed {
            requests.remove(id)?;
        }
        for (app, (versions, _)) in &changes.versions {
            if versions.is_empty() {
                versions_table.remove(&*json(app))?;
            } else {
                versions_table.insert(&*json(app), &*json(versions))?;
            }
        }
        for (key, time) in [(PRESENT, changes.present), (UNCERTAIN, changes.uncertain)] {
            if let Some(time) = time {
                times.insert(key, time.0)?;
            }
        }
        write_stamp(&mut instance, &mut times, now)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mqtt::topic::{App, Channel, Layout};
    use crate::oci::digest::Digest;

    const NOW: Time = Time(1_000_000);
    const SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn app(name: &str) -> App {
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        App { channel, layout: Layout::Plain, name: name.into() }
    }

    /// Ten seconds after the system was started.
    fn stamp_of(time: Time) -> Stamp {
        Stamp { time, boot_id: "a".into(), uptime: Duration::from_secs(10) }
    }

    /// A row as the release before this one wrote it: `open` was the number of transfers.
    fn old_row(open: u32) -> String {
        let digest = Digest::of(b"a");
        let plan = r#"{"size":25,"chunk_size":10,"total_chunks":3}"#;
        format!(
            r#"[{{"version":{{"root":"{digest}","digest":"{digest}","plan":{plan}}},"since":7,"last":8,"open":{open}}}]"#
        )
    }

    fn database(rows: &[(&[u8], &[u8])]) -> Database {
        let database = builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        for (app, versions) in rows {
            transaction.open_table(VERSIONS).unwrap().insert(*app, *versions).unwrap();
        }
        transaction.commit().unwrap();
        database
    }

    #[test]
    fn versions_of_the_previous_release_are_read() {
        let [idle, open] = ["idle", "open"].map(|name| json(&app(name)));
        let database = database(&[(&*idle, old_row(0).as_bytes()), (&*open, old_row(2).as_bytes())]);
        let saved = read(&database, false, &stamp_of(NOW), SIZE).unwrap().saved;
        let read: Vec<_> =
            saved.versions.iter().map(|(app, sent)| (&*app.name, sent[0].last, sent[0].is_open)).collect();
        assert_eq!(read, [("idle", Time(8), false), ("open", Time(8), true)]);
        assert_eq!(
            saved.uncertain_until,
            NOW + CHUNK_LIFETIME,
            "that one knew no stamps: the clock may have been wrong"
        );
    }

    #[test]
    fn versions_that_cannot_be_read_are_removed_and_leave_uncertainty() {
        let (good, row) = (json(&app("good")), old_row(0));
        for (key, value) in [(&b"garbage"[..], row.as_bytes()), (&json(&app("bad"))[..], b"garbage")] {
            let database = database(&[(&*good, row.as_bytes()), (key, value)]);
            for now in [NOW, NOW + CHUNK_LIFETIME] {
                let saved = read(&database, false, &stamp_of(now), SIZE).unwrap().saved;
                assert_eq!(saved.versions.len(), 1, "{saved:?}");
                assert_eq!(saved.uncertain_until, NOW + CHUNK_LIFETIME, "once, and also for the next process");
            }
        }
    }

    #[test]
    fn requests_that_cannot_be_read_leave_no_uncertainty() {
        let database = database(&[]);
        let transaction = database.begin_write().unwrap();
        transaction.open_table(REQUESTS).unwrap().insert(7, &b"garbage"[..]).unwrap();
        transaction.commit().unwrap();
        let restored = read(&database, false, &stamp_of(NOW), SIZE).unwrap();
        assert!(restored.requests.is_empty());
        assert_eq!(restored.saved.uncertain_until, Time::default());
    }

    #[test]
    fn another_chunk_size_is_known_until_devices_hold_no_chunks_of_the_old_one() {
        let (database, larger) = (database(&[]), NonZeroU32::new(20).unwrap());
        for (size, until) in [(SIZE, Time::default()), (SIZE, Time::default()), (larger, NOW + CHUNK_LIFETIME)] {
            assert_eq!(read(&database, false, &stamp_of(NOW), size).unwrap().saved.recut_until, until);
        }
        let later = stamp_of(NOW + Duration::from_secs(1));
        assert_eq!(read(&database, false, &later, larger).unwrap().saved.recut_until, NOW + CHUNK_LIFETIME, "again");
    }

    #[test]
    fn times_survive_any_step_of_the_clock() {
        const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
        let later = |boot_id: &str, uptime| Stamp {
            time: Time::default(),
            boot_id: boot_id.into(),
            uptime: Duration::from_secs(uptime),
        };
        // Each row: the present, how long ago the last transaction was, whether versions may be unknown.
        for (present, elapsed, is_uncertain) in [
            (later("a", 40), 30, false),
            (later("b", 40), 40, false),
            (later("a", 9), 0, true),
            (later("", 40), 0, true),
        ] {
            for time in [NOW, NOW + YEARS, NOW - YEARS] {
                let present = Stamp { time, ..present.clone() };
                let row = old_row(0);
                let database = database(&[(&*json(&app("a")), row.as_bytes())]);
                let changes = Waiting { present: Some(Time(8)), ..Waiting::default() };
                write(&database, &changes, &stamp_of(NOW)).unwrap();
                let restored = read(&database, false, &present, SIZE).unwrap();
                let now = NOW + Duration::from_secs(elapsed);
                let behind = restored.clock.now().since(now);
                assert!(restored.clock.now() >= now && behind < Duration::from_secs(60), "{present:?}: {behind:?}");
                let until = if is_uncertain { now + CHUNK_LIFETIME } else { Time::default() };
                assert_eq!(restored.saved.uncertain_until, until, "{present:?}");
                // Its own stamp is that of the present.
                let again = read(&database, false, &present, SIZE).unwrap();
                assert!(again.clock.now().since(now) < Duration::from_secs(60), "{present:?}");
                assert_eq!(again.saved.versions.len(), 1);
            }
        }
    }
}
