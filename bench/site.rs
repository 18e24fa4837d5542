//! What is measured stands here: a broker, a registry, daemons, someone who asks and someone who listens.

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
/// Time for the broker to be done with what is not waited for: the subscriber's acknowledgements.
const SETTLING_TIME: Duration = Duration::from_millis(50);

/// The servers of one run.
///
/// Publishing waits where it is called, which is on the main thread: the tasks of the run have threads of their own.
pub struct Site {
    pub mosquitto: Mosquitto,
    pub registry: DockerRegistry,
    pub subscriber: Subscriber,
    asker: Publisher,
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
        // A moment in which the subscriber gets no turn on a busy machine is not to cost chunks.
        let options = Options { lines: "max_queued_messages 0", ..Options::default() };
        let (mosquitto, registry) = (Mosquitto::with(options).await, DockerRegistry::start().await);
        let port = mosquitto.port();
        Self {
            subscriber: Subscriber::connect(port, "bench-subscriber", &answers("+")),
            asker: Publisher::connect(port, "bench-asker"),
            mosquitto,
            registry,
            daemons: 0,
        }
    }

    /// Runs a daemon that has never been asked for anything, with `variables` beside those that it needs.
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

    /// Publishes a request for each of `app_names`, and returns when the broker has them.
    pub fn ask<N: AsRef<str>>(&mut self, channel: &str, app_names: &[N]) {
        let request = |name: &N| serde_json::json!({ "app_name": name.as_ref() }).to_string();
        self.asker.publish(&requests(channel), 2, &app_names.iter().map(request).collect::<Vec<_>>());
    }

    /// Asks for a module that comes in `chunks` messages; returns how long it took from the request to the last of
    /// them, and how many bytes they had.
    pub async fn time(&mut self, channel: &str, app_name: &str, chunks: usize) -> (Duration, usize) {
        let (mut left, mut bytes) = (chunks, 0);
        let begin = Instant::now();
        let heard = self.ask_until(channel, app_name, move |arrived, message| {
            left -= 1;
            bytes += message.len();
            (left == 0).then_some((arrived, bytes))
        });
        let (end, bytes) = heard.await;
        time::sleep(SETTLING_TIME).await;
        (end - begin, bytes)
    }

    /// Asks for a module, and shows each message to `hear` until that returns something.
    pub async fn ask_until<T: Send + 'static>(
        &mut self,
        channel: &str,
        app_name: &str,
        mut hear: impl FnMut(Instant, &[u8]) -> Option<T> + Send + 'static,
    ) -> T {
        let (sender, result) = oneshot::channel();
        let mut sender = Some(sender);
        self.subscriber.listen(answers(channel), move |arrived, message| {
            if sender.is_some()
                && let Some(result) = hear(arrived, message)
                && let Some(sender) = sender.take()
            {
                // Whoever waited may have given up.
                let _ = sender.send(result);
            }
        });
        self.ask(channel, &[app_name]);
        match time::timeout(DEADLINE, result).await {
            Ok(Ok(result)) => result,
            _ => panic!("{app_name} did not arrive on {channel}"),
        }
    }
}

impl Proxy {
    /// Waits until the daemon has done with so many deliveries since its start.
    pub async fn delivered(&self, deliveries: usize) {
        self.daemon.nth_event("delivered", deliveries).await;
    }
}

/// Where requests of a channel are published.
pub fn requests(channel: &str) -> String {
    format!("m/{DOMAIN}/c/{channel}/registry/proplet")
}

/// Where they are answered.
pub fn answers(channel: &str) -> String {
    format!("m/{DOMAIN}/c/{channel}/registry/server")
}
