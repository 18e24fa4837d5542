//! A mosquitto broker that can be killed, restarted and frozen.

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::support::servers::process::{self, Process};
use crate::support::servers::tls::Tls;

/// The end of the line that the broker logs once it listens.
const READY: &str = " running\n";
/// Longest wait for clients to leave.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// How a broker differs from an open one in plain text that forgets.
#[derive(Default)]
pub struct Options<'a> {
    /// Names and passwords; anyone may connect when there are none.
    pub users: &'a [(&'a str, &'a str)],
    /// The text of an access control file.
    pub acl: Option<&'a str>,
    /// Speaks TLS with this certificate, and only TLS.
    pub tls: Option<&'a Tls>,
    /// Keeps sessions and queues on disk; written when the broker is terminated, lost when it is killed.
    pub persistence: bool,
    /// Further lines of configuration.
    pub lines: &'a str,
}

/// A broker on 127.0.0.1, killed when dropped.
pub struct Mosquitto {
    process: Process,
    port: u16,
    scheme: &'static str,
    directory: TempDir,
}

impl Mosquitto {
    /// Starts a broker that lets everyone do everything.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a broker.
    pub async fn with(options: Options<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the broker");
        let settings = settings(&options, &directory).await;
        let start = |port| {
            let text = format!("listener {port} 127.0.0.1\n{settings}");
            fs::write(directory.path().join("mosquitto.conf"), text).expect("write the broker's configuration");
            run(&directory)
        };
        let (process, port) = Process::on_free_port(start, &log(&directory), READY).await;
        Self { process, port, scheme: if options.tls.is_some() { "ssl" } else { "tcp" }, directory }
    }

    /// Returns the port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address as clients are given it: `tcp://127.0.0.1:PORT`, or `ssl://…` with TLS.
    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Returns what the broker has logged since its first start.
    pub fn log(&self) -> String {
        process::read(&log(&self.directory))
    }

    /// Waits until no more than so many clients remain, and so has handed on all that the others sent. Counts those
    /// since its first start, which a restart would confuse.
    pub async fn has_clients(&self, clients: usize) {
        let left = || {
            let log = self.log();
            let count =
                |words: &[&str]| log.lines().filter(|line| words.iter().any(|word| line.contains(word))).count();
            count(&["New client connected"]) - count(&["closed its connection", "disconnect"])
        };
        let gone = async {
            while left() > clients {
                sleep(POLL).await;
            }
        };
        assert!(timeout(DEADLINE, gone).await.is_ok(), "{} clients are left\n{}", left(), self.log());
    }

    /// Kills the broker with SIGKILL.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts the broker again on the same port with the same configuration, after killing it if it still runs.
    pub async fn restart(&mut self) {
        self.kill().await;
        let started = Process::start(run(&self.directory), &log(&self.directory), READY).await;
        self.process = started.unwrap_or_else(|said| panic!("the broker did not come back:\n{said}"));
    }

    /// Freezes the broker with SIGSTOP: its connections stay open and nothing moves.
    pub async fn stop(&self) {
        self.process.signal("STOP").await;
    }

    /// Lets a frozen broker go on.
    pub async fn cont(&self) {
        self.process.signal("CONT").await;
    }
}

fn log(directory: &TempDir) -> PathBuf {
    directory.path().join("mosquitto.log")
}

fn run(directory: &TempDir) -> Command {
    let mut command = process::command("mosquitto");
    command.arg("-c").arg(directory.path().join("mosquitto.conf"));
    command
}

/// Writes the files that the configuration names and returns its lines.
async fn settings(options: &Options<'_>, directory: &TempDir) -> String {
    let path = directory.path();
    // Started by root, mosquitto would become a user who may not read these files.
    let mut lines = vec!["user root".to_owned(), format!("allow_anonymous {}", options.users.is_empty())];
    if !options.users.is_empty() {
        let file = path.join("users");
        fs::write(&file, "").expect("create the file of users");
        for (name, password) in options.users {
            let mut command = process::command("mosquitto_passwd");
            let added = command.arg("-b").arg(&file).args([name, password]).status().await;
            assert!(added.expect("run mosquitto_passwd").success(), "mosquitto_passwd failed");
        }
        lines.push(format!("password_file {}", file.display()));
    }
    if let Some(acl) = options.acl {
        let file = path.join("acl");
        fs::write(&file, acl).expect("write the access control file");
        lines.push(format!("acl_file {}", file.display()));
    }
    if let Some(tls) = options.tls {
        let (certificate, key) = tls.write(path);
        lines.push(format!("certfile {}", certificate.display()));
        lines.push(format!("keyfile {}", key.display()));
    }
    if options.persistence {
        lines.push("persistence true".to_owned());
        lines.push(format!("persistence_location {}/", path.display()));
    }
    lines.push(options.lines.to_owned());
    lines.join("\n")
}
