//! One of the two replicas, with a clock that steps.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tempfile::TempDir;

use crate::support::clients::daemon::Daemon;
use crate::support::faults::clock::Clock;

const KILLED: i32 = 9;

/// A daemon that is ended and started again on the same store and state.
pub struct Replica {
    daemon: Daemon,
    variables: Vec<(&'static str, String)>,
    clock: Clock,
    footprint: Footprint,
    _folders: [TempDir; 2],
    /// What its earlier processes logged.
    earlier: String,
}

/// Where to see what a replica takes.
#[derive(Clone)]
pub struct Footprint {
    /// The id of its process, 0 while there is none.
    pub process: Arc<AtomicU32>,
    pub store: PathBuf,
    pub state: PathBuf,
}

impl Replica {
    pub async fn start(mut variables: Vec<(&'static str, String)>) -> Self {
        let clock = Clock::new();
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder of the replica"));
        let [store, state] = folders.each_ref().map(|folder| folder.path().to_owned());
        variables.push(("PROXY_CACHE_DIR", store.display().to_string()));
        variables.push(("PROXY_STATE_DIR", state.display().to_string()));
        variables.extend(clock.variables());
        let daemon = Daemon::start(&variables).await;
        let process = Arc::new(AtomicU32::new(daemon.id()));
        let footprint = Footprint { process, store, state };
        Self { daemon, variables, clock, footprint, _folders: folders, earlier: String::new() }
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        let status = self.end("KILL").await;
        assert_eq!(status.signal(), Some(KILLED), "it had ended by itself\n{}", self.daemon.log());
    }

    /// Ends it with SIGTERM.
    pub async fn terminate(&mut self) {
        let status = self.end("TERM").await;
        assert!(status.success(), "{status}\n{}", self.daemon.log());
    }

    async fn end(&mut self, signal: &str) -> std::process::ExitStatus {
        let process = self.footprint.process.swap(0, Relaxed);
        self.daemon.signal(signal).await;
        let status = self.daemon.ended().await;
        Clock::forget(process);
        status
    }

    /// Starts it again after its end.
    pub fn start_again(&mut self) {
        self.earlier += &self.daemon.log();
        self.daemon = Daemon::spawn(&self.variables);
        self.footprint.process.store(self.daemon.id(), Relaxed);
    }

    /// Stops it with SIGSTOP: its connections stay open and nothing moves.
    pub async fn freeze(&self) {
        self.daemon.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.daemon.signal("CONT").await;
    }

    /// Steps its clock to so far from the right time.
    pub fn step_clock(&self, offset: &str) {
        self.clock.step(offset);
    }

    /// Returns how often this process has subscribed.
    pub fn subscriptions(&self) -> usize {
        self.daemon.events("subscribed").len()
    }

    /// Waits until this process has subscribed more often than `before`.
    pub async fn has_subscribed(&self, before: usize) {
        self.daemon.nth_event("subscribed", before + 1).await;
    }

    /// Checks that it runs, and that none of its processes has panicked.
    pub fn check(&mut self) {
        assert!(self.daemon.is_running(), "it has ended by itself\n{}", self.daemon.log());
        assert!(self.daemon.events("panicked").is_empty(), "{}", self.daemon.log());
    }

    pub fn footprint(&self) -> Footprint {
        self.footprint.clone()
    }

    /// Returns what it has logged about an app, and about no app.
    pub fn log_about(&self, app_name: &str) -> String {
        let log = self.earlier.clone() + &self.daemon.log();
        let is_about = |line: &&str| !line.contains("\"app_name\"") || line.contains(&format!("\"{app_name}\""));
        log.lines().filter(is_about).flat_map(|line| [line, "\n"]).collect()
    }
}
