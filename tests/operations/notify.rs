//! The messages to systemd (`sd_notify`), which stop while the daemon hangs.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep, timeout};

use crate::support::clients::daemon::{Daemon, environment};
use crate::support::clients::push::client;
use crate::support::faults::frozen::Frozen;
use crate::support::servers::mosquitto::Mosquitto;

/// Longest wait for a message.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait for an answer over HTTP.
const ANSWER: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(100);
/// The limit of the watchdog; a ping is due after half of it.
const WATCHDOG: Duration = Duration::from_secs(4);

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let path = folder.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).expect("a socket"), path, _folder: folder }
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        [("NOTIFY_SOCKET", self.path.display().to_string()), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())]
    }

    /// Returns the next message.
    async fn next(&self) -> String {
        let mut message = [0; 1024];
        let received = timeout(DEADLINE, self.socket.recv(&mut message)).await.expect("a message in time");
        let length = received.expect("a message");
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    }

    /// Returns the next message that is no ping.
    async fn news(&self) -> String {
        loop {
            let message = self.next().await;
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// Waits for a ping.
    async fn ping(&self) {
        let pinged = async { while self.next().await != "WATCHDOG=1" {} };
        timeout(DEADLINE, pinged).await.expect("a ping in time");
    }

    /// Waits until no ping has come for the limit of the watchdog.
    async fn silence(&self) {
        let begin = Instant::now();
        while timeout(WATCHDOG, self.ping()).await.is_ok() {
            assert!(begin.elapsed() < 2 * DEADLINE, "pings go on");
        }
    }
}

#[tokio::test]
async fn systemd_gets_readiness_status_and_watchdog_messages() {
    let (manager, mut mosquitto) = (Manager::start(), Mosquitto::start().await);
    let address = mosquitto.address().replace("tcp://", "mqtt://");
    mosquitto.kill().await;
    let mut variables = environment(&mosquitto.address(), "localhost:5000");
    variables.extend(manager.variables());
    let mut daemon = Daemon::spawn(&variables);
    // A broker that is away is waited for.
    assert_eq!(manager.next().await, format!("READY=1\nSTATUS=Waiting for {address}"));
    daemon.event("listening").await;
    for _ in 0..2 {
        mosquitto.restart().await;
        assert_eq!(manager.news().await, format!("STATUS=Connected to {address}"));
        mosquitto.kill().await;
        assert_eq!(manager.news().await, format!("STATUS=Waiting for {address}"));
    }
    manager.ping().await;
    let begin = Instant::now();
    manager.ping().await;
    let every = begin.elapsed();
    assert!(every > WATCHDOG / 8 && every < WATCHDOG * 3 / 4, "a ping came after {every:?}");
    daemon.signal("TERM").await;
    assert_eq!(manager.news().await, "STOPPING=1\nSTATUS=Stopping");
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn an_unreachable_notify_socket_logs_a_warning() {
    let mosquitto = Mosquitto::start().await;
    let mut variables = environment(&mosquitto.address(), "localhost:5000");
    variables.push(("NOTIFY_SOCKET", "/nowhere/notify".to_owned()));
    let daemon = Daemon::start(&variables).await;
    daemon.event("service-manager-unreachable").await;
}

/// The threads of its runtime stand still.
#[tokio::test]
async fn watchdog_messages_stop_while_the_service_hangs() {
    let (manager, mosquitto) = (Manager::start(), Mosquitto::start().await);
    let mut variables = environment(&mosquitto.address(), "127.0.0.1:1");
    variables.extend(manager.variables());
    let daemon = Daemon::spawn(&variables);
    let http = daemon.http().await;
    let asks = async |path: &str| {
        let answer = client(None).get(format!("{http}{path}")).send();
        timeout(ANSWER, answer).await.expect("an answer in time").expect("an answer").status()
    };
    manager.ping().await;
    manager.ping().await;

    let frozen = Frozen::new(daemon.id()).await;
    manager.silence().await;
    let begin = Instant::now();
    while asks("/livez").await == StatusCode::OK {
        assert!(begin.elapsed() < DEADLINE, "it is said to be alive");
        sleep(POLL).await;
    }
    // It hangs, but the HTTP endpoint answers.
    asks("/readyz").await;
    asks("/metrics").await;

    frozen.thaw().await;
    manager.ping().await;
    manager.ping().await;
    assert_eq!(asks("/livez").await, StatusCode::OK);
}
