//! Commands as people type them: their output, their exit status, signals.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::clients::daemon::{BINARY, environment};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;

/// Longest wait for what a command prints or for its end.
const DEADLINE: Duration = Duration::from_secs(60);
/// Within what a command ends after a signal: a second, and what a busy machine takes.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Someone's shell: an environment, and a working directory.
pub struct Shell {
    variables: Vec<(String, String)>,
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Returns the text on standard output.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output")
    }

    /// Returns the JSON on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns all of it as text, with `names` in place of what differs from run to run.
    pub fn shown(&self, names: &[(&str, &str)]) -> String {
        let status = self.status.map_or("none".into(), |status| status.to_string());
        let shown = format!("{}--- stderr\n{}--- status {status}", self.text(), self.stderr);
        names.iter().fold(shown, |shown, (text, name)| shown.replace(text, name))
    }

    /// The command ended with this status.
    #[track_caller]
    pub fn ended(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }
}

impl Shell {
    /// An environment that has nothing but folders for the store and the state.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a working directory");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let temporary = path("tmp");
        std::fs::create_dir(&temporary).expect("a folder for temporary files");
        let variables = [
            ("PROXY_CACHE_DIR", path("cache")),
            ("PROXY_STATE_DIR", path("state")),
            ("TMPDIR", temporary),
            ("TERM", "xterm".into()),
        ];
        Self { variables: variables.map(|(name, value)| (name.to_owned(), value)).into(), folder }
    }

    /// An environment that joins a broker and a registry.
    pub fn between(broker: &str, registry: &str) -> Self {
        environment(broker, registry).iter().fold(Self::new(), |shell, (name, value)| shell.with(name, value))
    }

    /// An environment that joins servers of ours.
    pub fn of(mosquitto: &Mosquitto, registry: &DockerRegistry) -> Self {
        Self::between(&mosquitto.address(), registry.host())
    }

    /// The same with another variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the path of a file in the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether no temporary files of commands remain.
    pub fn is_tidy(&self) -> bool {
        std::fs::read_dir(self.path("tmp")).expect("the folder for temporary files").next().is_none()
    }

    /// Returns the environment as a daemon gets it.
    pub fn variables(&self) -> Vec<(&str, String)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }

    /// The same with the broker at another address.
    pub fn variables_at(&self, broker: &str) -> Vec<(&str, String)> {
        [self.variables(), vec![("PROXY_MQTT_ADDRESS", broker.to_owned())]].concat()
    }

    /// Returns a command of ours in this environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.program(BINARY, arguments)
    }

    /// Returns any command in this environment.
    pub fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[]).await
    }

    /// Runs a command with further variables to its end.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = timeout(DEADLINE, self.command(arguments).envs(variables.iter().copied()).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} goes on")).expect("run the command");
        let stderr = String::from_utf8(output.stderr).expect("text on standard error");
        Ran { status: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }
}

/// A command that goes on.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts any command that goes on.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the command");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, stdout }
    }

    /// Returns its next line.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(DEADLINE, self.stdout.read_line(&mut line)).await;
        assert!(read.expect("a line in time").expect("its output") > 0, "it has ended");
        line.truncate(line.trim_end_matches('\n').len());
        line
    }

    /// Waits until it prints something that holds `text`.
    pub async fn prints(&mut self, text: &str) {
        holds(&mut self.stdout, text).await;
    }

    /// Waits until a line on standard error holds `text`.
    pub async fn says(&mut self, text: &str) {
        holds(self.child.stderr.as_mut().expect("its standard error"), text).await;
    }

    /// Sends a signal, such as `INT`, and sees the command end in time.
    pub async fn signal(&mut self, name: &str) -> ExitStatus {
        let id = self.child.id().expect("a running command").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("run kill");
        assert!(sent.success(), "cannot send {name} to process {id}");
        let ended = timeout(STOP_DEADLINE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it goes on after {name}")).expect("its exit status")
    }

    /// Returns the rest of its standard error.
    pub async fn rest(mut self) -> String {
        let mut rest = String::new();
        let stderr = self.child.stderr.as_mut().expect("its standard error");
        stderr.read_to_string(&mut rest).await.expect("text on standard error");
        rest
    }
}

/// Reads until what was read holds `text`.
async fn holds(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let said = async {
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(text) {
            let byte = stream.read_u8().await;
            said.push(byte.unwrap_or_else(|_| panic!("{:?} has no {text:?}", String::from_utf8_lossy(&said))));
        }
    };
    timeout(DEADLINE, said).await.unwrap_or_else(|_| panic!("it does not say {text:?}"));
}
