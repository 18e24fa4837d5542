//! The test bed: a broker, a registry, daemons, a client that publishes requests and one that subscribes to answers.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::{sync::oneshot, time};

use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::support::clients::daemon::{DOMAIN, Daemon, environment, owned};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};

/// Longest wait for a module.
const DEADLINE: Duration = Duration::from_secs(120);
/// Time for the broker to process the subscriber's last acknowledgements.
const IDLE_TIME: Duration = Duration::from_millis(50);

/// The servers of one run.
///
/// Publishing blocks the main thread; the tasks of the run have other threads.
pub struct Site {
    pub mosquitto: Mosquitto,
    pub registry: DockerRegistry,
    pub subscriber: Subscriber,
    requester: Publisher,
    daemons: u32,
}

/// A daemon with folders and a channel of its own.
pub struct Proxy {
    pub daemon: Daemon,
    pub channel: String,
    _folders: TempDir,
}

impl Site {
    pub async fn start() -> Self {
        // A subscriber that is not scheduled for a moment must not lose chunks.
        let options = Options { lines: "max_queued_messages 0", ..Options::default() };
        let (mosquitto, registry) = (Mosquitto::with(options).await, DockerRegistry::start().await);
        let port = mosquitto.port();
        Self {
            subscriber: Subscriber::connect(port, "bench-subscriber", &answers("+")),
            requester: Publisher::connect(port, "bench-requester"),
            mosquitto,
            registry,
            daemons: 0,
        }
    }

    /// Starts a new daemon, with `variables` beside those that it requires.
    pub async fn proxy(&mut self, variables: &[(&'static str, &str)]) -> Proxy {
        self.daemons += 1;
        let channel = format!("daemon-{}", self.daemons);
        let folders = tempfile::tempdir().expect("a folder for the daemon");
        let folder = |name: &str| folders.path().join(name).display().to_string();
        let mut all = environment(&self.mosquitto.address(), self.registry.host());
        all.extend([
            ("PROXY_CHANNEL_ID", channel.clone()),
            ("PROXY_CACHE_DIR", folder("store")),
            ("PROXY_STATE_DIR", folder("state")),
        ]);
        all.extend(owned(variables));
        Proxy { daemon: Daemon::start(&all).await, channel, _folders: folders }
    }

    /// Publishes a request for each of `app_names`, and returns when the broker has acknowledged them.
    pub fn request<N: AsRef<str>>(&mut self, channel: &str, app_names: &[N]) {
        let payload = |name: &N| serde_json::json!({ "app_name": name.as_ref() }).to_string();
        self.requester.publish(&requests(channel), 2, &app_names.iter().map(payload).collect::<Vec<_>>());
    }

    /// Requests a module of `chunks` chunks; returns the time from the request to the last of them, and the bytes of
    /// all messages.
    pub async fn time(&mut self, channel: &str, app_name: &str, chunks: usize) -> (Duration, usize) {
        let (mut missing, mut bytes) = (chunks, 0);
        let begin = Instant::now();
        let last = self.request_until(channel, app_name, move |arrived, message| {
            missing -= 1;
            bytes += message.len();
            (missing == 0).then_some((arrived, bytes))
        });
        let (end, bytes) = last.await;
        time::sleep(IDLE_TIME).await;
        (end - begin, bytes)
    }

    /// Requests a module, and passes each message to `on_message` until that returns a value.
    pub async fn request_until<T: Send + 'static>(
        &mut self,
        channel: &str,
        app_name: &str,
        mut on_message: impl FnMut(Instant, &[u8]) -> Option<T> + Send + 'static,
    ) -> T {
        let (sender, result) = oneshot::channel();
        let mut sender = Some(sender);
        self.subscriber.listen(answers(channel), move |arrived, message| {
            if sender.is_some()
                && let Some(result) = on_message(arrived, message)
                && let Some(sender) = sender.take()
            {
                // The receiver is gone after the deadline.
                let _ = sender.send(result);
            }
        });
        self.request(channel, &[app_name]);
        match time::timeout(DEADLINE, result).await {
            Ok(Ok(result)) => result,
            _ => panic!("{app_name} did not arrive on {channel}"),
        }
    }
}

impl Proxy {
    /// Waits until the daemon has completed `deliveries` deliveries since its start.
    pub async fn delivered(&self, deliveries: usize) {
        self.daemon.nth_event("delivered", deliveries).await;
    }
}

/// The request topic of a channel.
pub fn requests(channel: &str) -> String {
    format!("m/{DOMAIN}/c/{channel}/registry/proplet")
}

/// The answer topic of a channel.
pub fn answers(channel: &str) -> String {
    format!("m/{DOMAIN}/c/{channel}/registry/server")
}
