//! Devices that request modules again and again.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use propeller_proxy::device::{ASSEMBLY_TTL, Proplet};
use propeller_proxy::mqtt::request::TASK_TIMEOUT;
use tokio::time::sleep;

use super::catalogue::{Catalogue, MODULES};
use super::journal::Journal;
use crate::support::random::Random;

/// How long before a request its transfer may have resolved the tag: it joins one that was opened for a request of
/// another task, or resumed for one, and each of the two may be as old as a task.
const TRANSFER_AGE: Duration = TASK_TIMEOUT.saturating_mul(2);
/// How long a device keeps chunks: it looks for old ones each minute.
const KEPT: Duration = ASSEMBLY_TTL.saturating_add(Duration::from_secs(60));
/// The pause of a device between two tasks, milliseconds.
const PAUSE: RangeInclusive<u64> = 300..=2500;

/// A stock device of one channel, with one task at a time, and another one while it is probed.
pub struct Device {
    pub name: String,
    pub proplet: Proplet,
    pub catalogue: Arc<Catalogue>,
    pub journal: Arc<Journal>,
    pub tally: Arc<Tally>,
    /// The modules of its tasks: no two of them take the chunks of one from each other.
    pub busy: Mutex<HashSet<usize>>,
}

/// How the tasks of all devices ended.
#[derive(Default)]
pub struct Tally {
    /// With a module that came after the request.
    pub delivered: AtomicU64,
    /// With one that the device had received before, as others had requested it.
    pub kept: AtomicU64,
    /// With nothing: all chunks came, and the device had kept some of another version.
    pub hindered: AtomicU64,
    /// With nothing, because of faults.
    pub interrupted: AtomicU64,
    /// The longest one that was served, without those that met an excuse, milliseconds.
    pub slowest: AtomicU64,
}

/// How a task ended, if in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Kept,
    Hindered,
    Interrupted,
}

/// What must not happen to a task.
#[derive(Debug)]
pub struct Failure {
    pub app_name: String,
    pub reason: String,
}

impl Device {
    /// Requests modules until one fails.
    pub async fn works(self: Arc<Self>, mut random: Random) -> Failure {
        loop {
            let number = self.choose(&mut random);
            let outcome = self.task(number).await;
            self.busy.lock().expect("the tasks").remove(&number);
            if let Err(failure) = outcome {
                return failure;
            }
            sleep(random.millis(PAUSE)).await;
        }
    }

    /// Requests modules until one has come after its request: in a time without faults every request is served.
    pub async fn is_served(&self, mut random: Random) -> Result<(), Failure> {
        loop {
            let number = self.choose(&mut random);
            let outcome = self.task_until_it_comes(number).await;
            self.busy.lock().expect("the tasks").remove(&number);
            if outcome? == Outcome::Delivered {
                return Ok(());
            }
        }
    }

    /// Requests a module again while the device has one already.
    async fn task_until_it_comes(&self, number: usize) -> Result<Outcome, Failure> {
        loop {
            match self.task(number).await? {
                Outcome::Kept => {}
                outcome => return Ok(outcome),
            }
        }
    }

    fn choose(&self, random: &mut Random) -> usize {
        let mut busy = self.busy.lock().expect("the tasks");
        loop {
            let number = random.index(MODULES);
            if busy.insert(number) {
                return number;
            }
        }
    }

    async fn task(&self, number: usize) -> Result<Outcome, Failure> {
        let app_name = Catalogue::app_name(number);
        let (start, start_time) = (Instant::now(), SystemTime::now());
        let (chunks, total_chunks) = self.proplet.progress(&app_name);
        let assembled = self.proplet.request(&app_name).await;
        let (took, is_excused) = (start.elapsed(), self.journal.excuses(start));
        let outcome = match assembled {
            Some(module) => {
                let oldest = if chunks > 0 { TRANSFER_AGE + KEPT } else { TRANSFER_AGE };
                // The clock of the system may have started later than that.
                let since = start.checked_sub(oldest).unwrap_or(start);
                self.catalogue.check(number, &module, since).map_err(|wrong| self.failure(&app_name, &wrong, took))?;
                if chunks > 0 && chunks == total_chunks { Outcome::Kept } else { Outcome::Delivered }
            }
            None if self.was_covered(&app_name, start_time) => Outcome::Hindered,
            None if is_excused => Outcome::Interrupted,
            None => return Err(self.failure(&app_name, "got nothing", took)),
        };
        self.tally.count(outcome, took, is_excused);
        Ok(outcome)
    }

    /// Whether every chunk of one version came since `start`.
    fn was_covered(&self, app_name: &str, start: SystemTime) -> bool {
        let mut versions: HashMap<u64, HashSet<u64>> = HashMap::new();
        for chunk in self.proplet.seen() {
            if *chunk.app_name == *app_name && chunk.time >= start {
                versions.entry(chunk.total_chunks).or_default().insert(chunk.index);
            }
        }
        versions.iter().any(|(total_chunks, indexes)| indexes.len() as u64 == *total_chunks)
    }

    fn failure(&self, app_name: &str, reason: &str, took: Duration) -> Failure {
        let progress = self.proplet.progress(app_name);
        let reason = format!("{} {reason} for {app_name} after {took:?}; it has {progress:?} chunks of it", self.name);
        Failure { app_name: app_name.to_owned(), reason }
    }
}

impl Tally {
    fn count(&self, outcome: Outcome, took: Duration, is_excused: bool) {
        let count = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Kept => &self.kept,
            Outcome::Hindered => &self.hindered,
            Outcome::Interrupted => &self.interrupted,
        };
        count.fetch_add(1, Relaxed);
        if outcome == Outcome::Delivered && !is_excused {
            self.slowest.fetch_max(u64::try_from(took.as_millis()).expect("less than a task"), Relaxed);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, kept, hindered, interrupted, slowest } = self;
        let [delivered, kept, hindered, interrupted, slowest] =
            [delivered, kept, hindered, interrupted, slowest].map(|count| count.load(Relaxed));
        write!(
            formatter,
            "{delivered} deliveries, the slowest without an excuse {slowest} ms; {kept} modules were there before, \
             {hindered} tasks had chunks of another version, {interrupted} were interrupted"
        )
    }
}
