//! The daemon as operators run it: the binary, its environment, its log, its signals.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time,
};

use crate::support::Variable;
use crate::support::clients::log;
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_propeller-proxy");
/// Longest wait for a line of the log.
const DEADLINE: Duration = Duration::from_secs(60);
/// Within what a daemon ends, whatever it is doing.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Name the folder of the store, and that of the state.
const FOLDERS: [&str; 2] = ["PROXY_CACHE_DIR", "PROXY_STATE_DIR"];

pub const DOMAIN: &str = "domain";
pub const CHANNEL: &str = "channel";

/// A running daemon, killed when dropped.
pub struct Daemon {
    process: Child,
    log: watch::Receiver<String>,
    reader: JoinHandle<()>,
    _folders: Vec<TempDir>,
}

/// The environment that joins a broker and a registry.
pub fn environment(broker: &str, registry: &str) -> Vec<(&'static str, String)> {
    vec![
        ("PROXY_MQTT_ADDRESS", broker.to_owned()),
        ("PROXY_REGISTRY_URL", registry.to_owned()),
        ("PROXY_DOMAIN_ID", DOMAIN.to_owned()),
        ("PROXY_CHANNEL_ID", CHANNEL.to_owned()),
    ]
}

/// Returns variables as [`environment`] does.
pub fn owned<'a>(variables: &'a [(&'static str, &'a str)]) -> impl Iterator<Item = (&'static str, String)> + 'a {
    variables.iter().map(|(name, value)| (*name, (*value).to_owned()))
}

impl Daemon {
    /// Runs the daemon with nothing but `variables` in its environment, and a store and state of its own unless they
    /// name some.
    pub fn spawn(variables: &[(&str, String)]) -> Self {
        Self::spawn_by(Command::new(BINARY), variables)
    }

    /// Runs the daemon as [`Daemon::spawn`] does, by a command that becomes the daemon.
    pub fn spawn_by(mut command: Command, variables: &[(&str, String)]) -> Self {
        command.env_clear();
        // The usual one may be taken.
        command.env("PROXY_HTTP_PORT", "0");
        let mut folders = Vec::new();
        for folder in FOLDERS {
            if variables.iter().all(|(name, _)| *name != folder) {
                let own = tempfile::tempdir().expect("a folder of its own");
                command.env(folder, own.path());
                folders.push(own);
            }
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("run the daemon");
        let mut lines = BufReader::new(process.stderr.take().expect("its standard error")).lines();
        let (writer, log) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writer.send_modify(|log| log.extend([&line, "\n"]));
            }
        });
        Self { process, log, reader, _folders: folders }
    }

    /// Runs the daemon and waits until it takes requests.
    pub async fn start(variables: &[(&str, String)]) -> Self {
        let daemon = Self::spawn(variables);
        daemon.event("subscribed").await;
        daemon
    }

    /// Runs the daemon with further `variables` between the broker at `address` and the registry at `registry`.
    pub async fn with(address: &str, registry: &str, variables: &[Variable<'_>]) -> Self {
        let mut all = environment(address, registry);
        all.extend(owned(variables));
        Self::start(&all).await
    }

    /// Runs the daemon between a broker and an open registry.
    pub async fn between(broker: &Mosquitto, registry: &DockerRegistry) -> Self {
        Self::start(&environment(&broker.address(), registry.host())).await
    }

    /// Runs the daemon with a relay before the broker that takes so many bytes a second from it.
    pub async fn behind_relay(mosquitto: &Mosquitto, registry: &DockerRegistry, up: u32) -> (Relay, Self) {
        let relay = Relay::before(mosquitto, up).await;
        let daemon = Self::start(&environment(&relay.address(), registry.host())).await;
        (relay, daemon)
    }

    /// Runs the daemon with `variables` beside those that it needs, sees it end with `EX_CONFIG`, and returns its log.
    pub async fn misconfigured(variables: &[(&'static str, &str)]) -> String {
        let mut all = environment("tcp://127.0.0.1:1", "localhost:5000");
        all.extend(owned(variables));
        let mut daemon = Self::spawn(&all);
        assert_eq!(daemon.ended().await.code(), Some(78), "{variables:?}: {}", daemon.log());
        daemon.log()
    }

    /// Sees it end because it cannot use a folder, which it names with the setting that names another.
    pub async fn fails_for(mut self, folder: &Path, setting: &str) {
        assert_eq!(self.ended().await.code(), Some(1), "{}: {}", folder.display(), self.log());
        let log = self.log();
        let line = |start: &str| log.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        assert!(line("error: ").contains(&folder.display().to_string()), "{log}");
        assert!(line("hint: ").contains(setting), "{log}");
    }

    /// Returns the log's events of this name.
    pub fn events(&self, name: &str) -> Vec<Value> {
        log::events(&self.log.borrow(), name)
    }

    /// Waits for the first event of this name.
    pub async fn event(&self, name: &str) -> Value {
        self.nth_event(name, 1).await
    }

    /// Waits for the event of this name with this number, counted from 1.
    pub async fn nth_event(&self, name: &str, number: usize) -> Value {
        self.finds(name, |log| log::events(log, name).into_iter().nth(number - 1)).await
    }

    /// Waits for the first failure with this code.
    pub async fn failure(&self, code: &str) -> Value {
        self.nth_failure(code, 1).await
    }

    /// Waits for the failure with this code and number, counted from 1.
    pub async fn nth_failure(&self, code: &str, number: usize) -> Value {
        self.finds(code, |log| log::failures_with(log, code).into_iter().nth(number - 1)).await
    }

    /// Waits until the output holds `text`, as the error that ends the daemon, which is no line of the log.
    pub async fn prints(&self, text: &str) {
        self.finds(text, |log| log.contains(text).then_some(())).await;
    }

    /// Waits until `find` finds `what` in the log.
    pub async fn finds<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut log = self.log.clone();
        let found = async {
            loop {
                if let Some(found) = find(&log.borrow_and_update()) {
                    return Some(found);
                }
                log.changed().await.ok()?;
            }
        };
        let found = time::timeout(DEADLINE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("the log has no {what}:\n{}", self.log()))
    }

    /// Waits until the HTTP endpoint listens, and returns the base URL, without a slash at the end.
    pub async fn http(&self) -> String {
        let listening = self.event("listening").await;
        format!("http://{}", listening["http"].as_str().expect("an address"))
    }

    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Returns the id of its process.
    pub fn id(&self) -> u32 {
        self.process.id().expect("a running daemon")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().await.expect("run kill");
        assert!(status.success(), "kill -{name} {id}");
    }

    /// Sets how large a file may be that it writes to, bytes: none at all with 0.
    pub async fn limit_files(&self, size: &str) {
        let id = self.id();
        let limits = [format!("--pid={id}"), format!("--fsize={size}:unlimited")];
        let status = Command::new("prlimit").args(limits).status().await.expect("run prlimit");
        assert!(status.success(), "prlimit --fsize={size}");
    }

    /// Sets how many files it may have open: the soft limit.
    pub async fn limit_open_files(&self, count: u64) {
        let id = self.id();
        let limits = [format!("--pid={id}"), format!("--nofile={count}:")];
        let status = Command::new("prlimit").args(limits).status().await.expect("run prlimit");
        assert!(status.success(), "prlimit --nofile={count}:");
    }

    /// How many files it may have open: the soft and the hard limit; the greatest number for none.
    pub fn open_files_limits(&self) -> [u64; 2] {
        let path = format!("/proc/{}/limits", self.id());
        let limits = std::fs::read_to_string(path).expect("its limits");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("that of open files");
        let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
        [(); 2].map(|()| numbers.next().expect("a number"))
    }

    /// Waits for its end, which after a signal comes within [`STOP_DEADLINE`], and for the last line of its log.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = async {
            let status = self.process.wait().await.expect("its exit status");
            (&mut self.reader).await.expect("its log to the end");
            status
        };
        let status = time::timeout(STOP_DEADLINE, end).await;
        status.unwrap_or_else(|_| panic!("the daemon did not end:\n{}", self.log()))
    }

    /// The most memory it ever had resident, bytes (`VmHWM`).
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
    }

    /// The processor time it has used, of its own and in the kernel for it (`utime` and `stime`).
    pub fn cpu_time(&self) -> Duration {
        /// Of the times in `/proc`: `USER_HZ`, the same on every Linux.
        const TICKS_PER_SECOND: u32 = 100;
        let path = format!("/proc/{}/stat", self.id());
        let stat = std::fs::read_to_string(path).expect("its status");
        // The second field, the name in brackets, may have spaces.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("ticks")).sum();
        Duration::from_secs(1) * ticks / TICKS_PER_SECOND
    }
}
