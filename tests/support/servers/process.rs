//! A foreign server: started, known to be ready by its log, ended by its own process id.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    time,
};

use crate::support::free_port;

const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// A running server, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Runs `command`, appending its output to the file `log`, until the log holds `ready`.
    ///
    /// # Errors
    ///
    /// What the server logged, if it ended or stayed silent instead.
    pub async fn start(mut command: Command, log: &Path, ready: &str) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(log).expect("open the server's log");
        let earlier = read(log).len();
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("share the log")).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let over = child.try_wait().expect("the server's state").is_some() || Instant::now() > deadline;
            let said = read(log).split_off(earlier);
            if said.contains(ready) {
                return Ok(Self(child));
            }
            if over {
                return Err(said);
            }
            time::sleep(POLL).await;
        }
    }

    /// Starts the server that `command` describes for a port, on a port that turns out to be free.
    pub async fn on_free_port(command: impl Fn(u16) -> Command, log: &Path, ready: &str) -> (Self, u16) {
        loop {
            let port = free_port();
            match Self::start(command(port), log, ready).await {
                Ok(process) => return (process, port),
                Err(said) if said.to_lowercase().contains("address already in use") => {}
                Err(said) => panic!("the server did not start:\n{said}"),
            }
        }
    }

    /// Kills the server with SIGKILL, if it still runs, and waits for its end.
    pub async fn kill(&mut self) {
        let _ = self.0.start_kill();
        let end = time::timeout(DEADLINE, self.0.wait()).await;
        end.expect("the server ends in time").expect("wait for the server");
    }

    /// Sends the signal `name`, `STOP` or `CONT`.
    pub async fn signal(&self, name: &str) {
        let id = self.0.id().expect("a running server").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("run kill");
        assert!(sent.success(), "cannot send {name} to process {id}");
    }
}

/// Returns the text of the file `log`.
pub fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).expect("read the server's log")).into_owned()
}

/// Returns a command for `program`, also where administrators' directories are not on the path.
pub fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin"));
    command
}
