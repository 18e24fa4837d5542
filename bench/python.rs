//! The Python package: its size, and what its calls cost compared with the daemon.
//!
//! The wheel is installed as users do. Both sides deliver the same module through the same broker to the same
//! subscriber, alternately. The requests of the device in Python are served by a daemon on a channel of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs};

use tempfile::TempDir;

use super::sample::Sample;
use super::site::{Proxy, Site};
use crate::support::clients::daemon::DOMAIN;
use crate::support::clients::log::events;
use crate::support::wasm_of_size;

/// Size of the module, bytes.
const SIZE: usize = 50_000_000;
/// Rounds in which each is measured once.
const ROUNDS: usize = 15;
/// Imports, each in a new interpreter.
const IMPORTS: usize = 15;
const APP_NAME: &str = "bench/python";
/// The channel that the proxy in Python serves.
const CHANNEL: &str = "python";
/// The Python program.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/client.py");

/// The measurements.
pub struct Python {
    /// Size of the wheel, bytes.
    pub wheel: u64,
    /// Time of the import, ms.
    pub import: Sample,
    /// A delivery by the daemon, from its start to the last acknowledgement, ms.
    pub daemon: Sample,
    /// `Proxy.deliver`, the whole call, ms.
    pub deliver: Sample,
    /// Time of `Proplet.request` over the time of the daemon's delivery for it.
    pub request: Sample,
}

/// Measures the wheel that `PROPELLER_WHEEL` names; nothing if none is named.
pub async fn measure(site: &mut Site) -> Option<Python> {
    let wheel = PathBuf::from(env::var_os("PROPELLER_WHEEL")?);
    let folder = tempfile::tempdir().expect("a folder");
    let python = install(&wheel, folder.path());
    let import = Sample::of((0..IMPORTS).map(|_| import(&python)));

    site.registry.pusher().wasm(APP_NAME, "latest", wasm_of_size(SIZE)).await;
    let generous = [("PROXY_MAX_REPEATS", "1000GiB"), ("PROXY_MAX_PASSES", "6000")];
    let (alone, serving) = (site.proxy(&generous).await, site.proxy(&generous).await);
    let mut client = Client::start(&python, site, &serving.channel, &generous);
    let (mut daemon, mut deliver, mut request) = (Vec::new(), Vec::new(), Vec::new());
    // The first round is not counted: it fetches the module.
    for round in 0..=ROUNDS {
        site.request(&alone.channel, &[APP_NAME]);
        let by_daemon = seconds(&alone, round + 1).await;
        let delivered = client.time("deliver");
        let requested = client.time("request");
        let for_request = seconds(&serving, round + 1).await;
        if round > 0 {
            daemon.push(by_daemon * 1e3);
            deliver.push(delivered * 1e3);
            request.push(requested / for_request);
        }
    }
    let wheel = fs::metadata(wheel).expect("the wheel").len();
    let [daemon, deliver, request] = [daemon, deliver, request].map(Sample::of);
    Some(Python { wheel, import, daemon, deliver, request })
}

/// Waits for a daemon's latest delivery; returns how long that took, seconds.
async fn seconds(proxy: &Proxy, deliveries: usize) -> f64 {
    proxy.delivered(deliveries).await;
    let log = proxy.daemon.log();
    let entry = events(&log, "delivered").pop().expect("a delivery");
    entry["seconds"].as_f64().expect("how long it took")
}

/// Makes an environment with the wheel in it; returns its interpreter.
fn install(wheel: &Path, folder: &Path) -> PathBuf {
    let run = |command: &mut Command| assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
    run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
    let python = folder.join("venv/bin/python");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).arg(wheel));
    python
}

/// Time of the import in a new interpreter, ms.
fn import(python: &Path) -> f64 {
    let code = "import time; t = time.perf_counter(); import propeller_proxy; print((time.perf_counter() - t) * 1e3)";
    let output = Command::new(python).args(["-c", code]).output().expect("run the interpreter");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a time")
}

/// A Python process that executes commands.
struct Client {
    process: Child,
    commands: ChildStdin,
    times: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Client {
    fn start(python: &Path, site: &Site, daemon_channel: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(python)
            .arg(CLIENT)
            .args([APP_NAME, DOMAIN, daemon_channel])
            .env("PROXY_MQTT_ADDRESS", site.mosquitto.address())
            .env("PROXY_REGISTRY_URL", site.registry.host())
            .env("PROXY_DOMAIN_ID", DOMAIN)
            .env("PROXY_CHANNEL_ID", CHANNEL)
            .env("PROXY_CACHE_DIR", folder.path().join("store"))
            .env("PROXY_STATE_DIR", folder.path().join("state"))
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run the client");
        let (commands, times) = (process.stdin.take().expect("its input"), process.stdout.take().expect("its output"));
        Self { process, commands, times: BufReader::new(times), _folder: folder }
    }

    /// Executes a command; returns the seconds that it took.
    fn time(&mut self, command: &str) -> f64 {
        writeln!(self.commands, "{command}").expect("write to the client");
        let mut time = String::new();
        self.times.read_line(&mut time).expect("read from the client");
        time.trim().parse().unwrap_or_else(|_| panic!("the client printed {time:?} for {command}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
