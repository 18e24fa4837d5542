//! The faults so far, and which tasks they excuse.

use std::sync::Mutex;
use std::time::Instant;

/// What a fault may cost a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// One replica is away, and the other one serves: a task that sees no other fault still gets its module.
    Replica,
    /// The broker may lose a request or a chunk, or no replica is there: a task may get nothing.
    Outage,
}

/// All faults, the oldest first.
#[derive(Default)]
pub struct Journal(Mutex<Vec<Fault>>);

struct Fault {
    severity: Severity,
    /// None while it lasts.
    until: Option<Instant>,
}

impl Journal {
    /// A fault begins; it is the last one that does until it ends.
    pub fn begin(&self, severity: Severity) {
        self.0.lock().expect("the faults").push(Fault { severity, until: None });
    }

    /// The fault that began last has ended.
    pub fn end(&self) {
        let mut faults = self.0.lock().expect("the faults");
        faults.last_mut().expect("a fault").until = Some(Instant::now());
    }

    /// Whether a task that began at `start` and ends now may have got nothing because of faults in its time: an outage,
    /// or more than one fault of whatever kind.
    pub fn excuses(&self, start: Instant) -> bool {
        let faults = self.0.lock().expect("the faults");
        let met: Vec<_> = faults.iter().filter(|fault| fault.until.is_none_or(|until| until >= start)).collect();
        met.len() > 1 || met.iter().any(|fault| fault.severity == Severity::Outage)
    }
}
