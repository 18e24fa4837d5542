//! The Python package: what it weighs, and what its calls cost beside the daemon.
//!
//! It is the wheel that is measured, installed as users do. Both sides deliver the same module through the same broker to
//! the same subscriber, and take turns. What the device in Python asks for, a daemon delivers on a channel of its own.

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
/// How often each is measured, one after the other.
const ROUNDS: usize = 15;
/// How often the package is imported by a new interpreter.
const IMPORTS: usize = 15;
const APP_NAME: &str = "bench/python";
/// The channel that the proxy in Python serves.
const CHANNEL: &str = "python";
/// What runs in Python.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/client.py");

/// What was measured.
pub struct Python {
    /// Size of the wheel, bytes.
    pub wheel: u64,
    /// Time that the import takes, ms.
    pub import: Sample,
    /// A delivery by the daemon, from its beginning to the last acknowledgement, ms.
    pub daemon: Sample,
    /// `Proxy.deliver`, the whole call, ms.
    pub deliver: Sample,
    /// `Proplet.request` over the time of the delivery that the daemon made for it.
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
    let (alone, asked) = (site.proxy(&generous).await, site.proxy(&generous).await);
    let mut client = Client::start(&python, site, &asked.channel, &generous);
    let (mut daemon, mut deliver, mut request) = (Vec::new(), Vec::new(), Vec::new());
    // The first time of each is not counted: the module is fetched then.
    for round in 0..=ROUNDS {
        site.ask(&alone.channel, &[APP_NAME]);
        let by_daemon = seconds(&alone, round + 1).await;
        let delivered = client.time("deliver");
        let requested = client.time("request");
        let for_request = seconds(&asked, round + 1).await;
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

/// The time that a new interpreter takes to import the package, ms.
fn import(python: &Path) -> f64 {
    let code = "import time; t = time.perf_counter(); import propeller_proxy; print((time.perf_counter() - t) * 1e3)";
    let output = Command::new(python).args(["-c", code]).output().expect("run the interpreter");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a time")
}

/// A process that does in Python what it is told.
struct Client {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
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
        let (orders, answers) = (process.stdin.take().expect("its input"), process.stdout.take().expect("its output"));
        Self { process, orders, answers: BufReader::new(answers), _folder: folder }
    }

    /// Has it do something once; returns the seconds that took.
    fn time(&mut self, order: &str) -> f64 {
        writeln!(self.orders, "{order}").expect("tell the client");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("hear the client");
        answer.trim().parse().unwrap_or_else(|_| panic!("the client answered {answer:?} to {order}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It was told everything; if it has not ended, that is no reason to stay.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
