//! The thread that writes, and goes on when the disk does.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use redb::Database;
use tokio::sync::mpsc;
use tracing::{error, info};

use super::database::{Change, FILE, builder, write};
use crate::error::Error;
use crate::util::clock::{Clock, Stamp};
use crate::util::sync::lock;

/// Changes that wait to be written.
#[doc(alias = "bound")]
pub(super) const QUEUE: usize = 4096;
/// Changes that are written in one transaction, beside those of a failed transaction.
#[doc(alias = "bound")]
const MAX_BATCH: usize = 512;

/// Writes changes in their order. What could not be written is kept, as much as may wait, and goes before what comes
/// next.
pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) clock: Clock,
    /// Nothing after an error: the database takes no more until it is opened anew.
    pub(super) database: Option<Database>,
    /// Why the last try failed, if it did.
    pub(super) failure: Arc<Mutex<Option<String>>>,
}

impl Writer {
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Change>) {
        let mut batch = Vec::new();
        while waiting.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            self.write(&mut batch);
        }
        if !batch.is_empty() {
            self.write(&mut batch);
        }
    }

    /// Writes changes and answers who waits for them; those that were not written stay in `batch`.
    fn write(&mut self, batch: &mut Vec<Change>) {
        let written = self.try_writing(batch);
        let failure = written.as_ref().err().map(ToString::to_string);
        let written = written.map_err(|error| Error::disk(&self.folder, io::Error::other(error)));
        for change in batch.iter_mut() {
            match change {
                // Not acknowledging would stop the flow of requests; they are served all the same.
                Change::Open(_, _, ack) => std::mem::take(ack).acknowledge(),
                // Whoever waited for it may be gone already.
                Change::Versions(_, _, done) => drop(done.take().map(|done| done.send(written.clone()))),
                _ => {}
            }
        }
        let failed_before = std::mem::replace(&mut *lock(&self.failure), failure).is_some();
        match written {
            Ok(()) => {
                batch.clear();
                if failed_before {
                    info!(event = "state-written", folder = %self.folder.display(), "the state is written again");
                }
            }
            Err(error) => {
                batch.retain(|change| !matches!(change, Change::Again));
                batch.drain(..batch.len().saturating_sub(QUEUE));
                if !failed_before {
                    error!(
                        event = "state-not-written",
                        code = error.code(),
                        hint = error.hint(),
                        "the state was not written: {error}"
                    );
                }
            }
        }
    }

    fn try_writing(&mut self, batch: &[Change]) -> Result<(), redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            // One that is damaged is set aside by the next process: this one has in its memory what the file should have.
            None => builder().create(self.folder.join(FILE))?,
        };
        write(&database, batch, &Stamp::of(self.clock.now()))?;
        self.database = Some(database);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::database::read;
    use super::*;
    use crate::util::clock::Time;

    #[test]
    fn what_could_not_be_written_is_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let mut writer = Writer {
            folder: missing.clone(),
            clock: Clock::from(Time::default()),
            database: None,
            failure: Arc::default(),
        };
        let mut batch = vec![Change::Present(Time(7))];
        for _ in 0..2 {
            batch.push(Change::Again);
            writer.write(&mut batch);
            assert!(matches!(batch[..], [Change::Present(Time(7))]), "{batch:?}");
            assert!(lock(&writer.failure).is_some());
        }
        fs::create_dir(&missing).unwrap();
        writer.write(&mut batch);
        assert!(batch.is_empty() && lock(&writer.failure).is_none());
        assert_eq!(read(&writer.database.unwrap(), false, &Stamp::of(Time(7))).unwrap().saved.present, Some(Time(7)));
    }
}
