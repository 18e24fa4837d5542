//! The thread that writes, and goes on when the disk does.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use redb::Database;
use tracing::{error, info};

use super::database::{FILE, builder, write};
use super::waiting::Waiting;
use crate::error::Error;
use crate::util::clock::{Clock, Stamp};
use crate::util::sync::lock;

/// The changes that wait, and what wakes their writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    /// Changes what waits, and wakes the writer.
    pub(super) fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = lock(&self.waiting);
        change(&mut waiting);
        waiting.is_due = true;
        self.changed.notify_one();
    }

    /// Waits for a change, and takes all that wait; and whether they are the last ones.
    fn take(&self) -> (Waiting, bool) {
        let is_idle = |waiting: &mut Waiting| !waiting.is_due && !waiting.is_closed;
        let waiting = self.changed.wait_while(lock(&self.waiting), is_idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        (mem::replace(&mut *waiting, Waiting { is_closed, ..Waiting::default() }), is_closed)
    }
}

/// Writes all changes that wait in one transaction. What could not be written waits on, for the next change.
pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) clock: Clock,
    /// Nothing after an error: the database takes no more until it is opened anew.
    pub(super) database: Option<Database>,
    /// Why the last try failed, if it did.
    pub(super) failure: Arc<Mutex<Option<String>>>,
}

impl Writer {
    /// Writes until the queue is closed.
    pub(super) fn run(mut self, queue: &Queue) {
        let _abandoned = Abandoned { queue, failure: Arc::clone(&self.failure) };
        loop {
            let (mut changes, is_last) = queue.take();
            if !is_last || changes.len() > 0 {
                let is_written = self.write(&mut changes);
                if !is_written {
                    lock(&queue.waiting).put_back(changes);
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes changes, and answers who waits for them. Whether they are on disk.
    fn write(&mut self, changes: &mut Waiting) -> bool {
        let written = self.try_writing(changes);
        let failure = written.as_ref().err().map(ToString::to_string);
        let written = written.map_err(|error| Error::disk(&self.folder, io::Error::other(error)));
        changes.answer(&written);
        let failed_before = mem::replace(&mut *lock(&self.failure), failure).is_some();
        match &written {
            Ok(()) if failed_before => {
                info!(event = "state-written", folder = %self.folder.display(), "the state is written again");
            }
            Err(error) if !failed_before => error!(
                event = "state-not-written",
                code = error.code(),
                hint = error.hint(),
                "the state was not written: {error}"
            ),
            _ => {}
        }
        written.is_ok()
    }

    fn try_writing(&mut self, changes: &Waiting) -> Result<(), redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            // One that is damaged is set aside by the next process: this one has in its memory what the file should have.
            None => builder().create(self.folder.join(FILE))?,
        };
        write(&database, changes, &Stamp::of(self.clock.now()))?;
        self.database = Some(database);
        Ok(())
    }
}

/// Closes the queue if the writer panics, so that nobody waits for it.
struct Abandoned<'a> {
    queue: &'a Queue,
    failure: Arc<Mutex<Option<String>>>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let failure = "the writer of the state has panicked".to_owned();
            self.queue.change(|waiting| {
                waiting.is_closed = true;
                waiting.answer(&Err(Error::Setup { object: "state".into(), detail: failure.clone() }));
            });
            *lock(&self.failure) = Some(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroU32;

    use tokio::sync::oneshot;

    use super::super::database::read;
    use super::*;
    use crate::mqtt::topic::{App, Channel, Layout};
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
        let mut changes = Waiting { present: Some(Time(7)), ..Waiting::default() };
        for _ in 0..2 {
            assert!(!writer.write(&mut changes));
            assert!(lock(&writer.failure).is_some());
        }
        fs::create_dir(&missing).unwrap();
        assert!(writer.write(&mut changes) && lock(&writer.failure).is_none());
        assert_eq!(
            read(&writer.database.unwrap(), false, &Stamp::of(Time(7)), NonZeroU32::MIN).unwrap().saved.present,
            Some(Time(7))
        );
    }

    #[test]
    fn nobody_waits_for_a_writer_that_panicked() {
        let (queue, failure) = (Arc::new(Queue::default()), Arc::<Mutex<Option<String>>>::default());
        let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
        let app = App { channel, layout: Layout::Plain, name: "a".into() };
        let (done, mut written) = oneshot::channel();
        queue.change(|waiting| waiting.version(app, Vec::new(), Some(done)));
        let (shared, told) = (Arc::clone(&queue), Arc::clone(&failure));
        let panicked = thread::spawn(move || {
            let _abandoned = Abandoned { queue: &shared, failure: told };
            panic!("as the test wants");
        });
        panicked.join().unwrap_err();
        assert!(written.try_recv().unwrap().is_err() && lock(&queue.waiting).is_closed);
        assert!(lock(&failure).is_some());
    }
}
