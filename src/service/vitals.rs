//! Signs of life: the beat of the service's loop, what waits, and whether the proxy can do its work.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Service;
use crate::delivery::MAX_OPEN_MODULES;
use crate::mqtt::Health;
use crate::oci::options::PullPolicy;
use crate::oci::registry::Contact;
use crate::telemetry::readiness::{Check, Probe, Readiness};
use crate::util::metrics::{self, Meters};
use crate::util::sync::lock;

/// How long it is believed that a folder can be written to, or that it cannot.
const DISK_INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer of the registry is taken for a sign that the next one will come.
const REGISTRY_GOOD_FOR: Duration = Duration::from_secs(30);
/// How often a registry that does not answer is asked.
const REGISTRY_BAD_FOR: Duration = Duration::from_secs(10);
/// How long the end waits for what is still tried out: a disk that hangs is left behind.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The links for requests and for chunks, as they are doing.
type Links = [watch::Receiver<Health>; 2];

#[derive(Debug)]
pub(super) struct Vitals {
    /// When the loop came around last.
    pulse: watch::Sender<Instant>,
    /// And the runtime that they are on. Nothing while the service does not run.
    links: Mutex<Option<(Links, Handle)>>,
    registry: Probe,
    store: Probe,
    state: Probe,
    /// What is being tried out. It has the service, which is to go when it ends.
    attempts: TaskTracker,
    halt: CancellationToken,
    meters: Meters,
}

/// The links are watched as long as this lives.
pub(super) struct Watched<'a>(&'a Mutex<Option<(Links, Handle)>>);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        lock(self.0).take();
    }
}

impl Vitals {
    pub(super) fn new() -> Self {
        let disk = || Probe::new(DISK_INTERVAL, DISK_INTERVAL, |_| ());
        Self {
            pulse: watch::Sender::new(Instant::now()),
            links: Mutex::default(),
            registry: Probe::new(REGISTRY_GOOD_FOR, REGISTRY_BAD_FOR, |_| ()),
            store: disk(),
            state: disk(),
            attempts: TaskTracker::new(),
            halt: CancellationToken::new(),
            meters: Meters::default(),
        }
    }

    pub(super) fn watch(&self, links: Links) -> Watched<'_> {
        *lock(&self.links) = Some((links, Handle::current()));
        Watched(&self.links)
    }

    /// Ends what is being tried out.
    pub(super) async fn end(&self) {
        self.halt.cancel();
        self.attempts.close();
        let _ = timeout(END_TIMEOUT, self.attempts.wait()).await;
    }
}

impl Service {
    /// Tells when the service came around last, now and each second. When it hangs, this stands still.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<Instant> {
        self.vitals.pulse.subscribe()
    }

    /// Measures what waits, and tells that the loop goes around.
    pub(super) fn beat(&self, arrivals: usize) {
        let meters = &self.vitals.meters;
        let deliveries = lock(&self.under_way).len();
        let begun = MAX_OPEN_MODULES - self.open_modules.available_permits();
        metrics::set(&meters.waiting_arrivals, arrivals as u64);
        metrics::set(&meters.waiting_modules, deliveries.saturating_sub(begun) as u64);
        metrics::set(&meters.waiting_changes, self.state.waiting() as u64);
        self.courier.measure();
        self.vitals.pulse.send_replace(Instant::now());
    }

    /// Whether the proxy can do its work now. Answers within about two seconds, whatever hangs; also when all threads
    /// of the service's runtime do, if it is asked on another one.
    pub async fn readiness(self: &Arc<Self>) -> Readiness {
        let runtime = lock(&self.vitals.links).as_ref().map_or_else(Handle::current, |(_, runtime)| runtime.clone());
        let (store, state) = (Arc::clone(self), Arc::clone(self));
        let store = disk(move || written(store.puller.store().try_writing()));
        let state = disk(move || written(state.state.try_writing()));
        let Vitals { store: store_probe, state: state_probe, attempts, .. } = &self.vitals;
        let (registry, store, state) = tokio::join!(
            self.registry(&runtime),
            store_probe.outcome(attempts.track_future(store), &runtime),
            state_probe.outcome(attempts.track_future(state), &runtime)
        );
        Readiness { broker: self.broker(), registry, store, state }
    }

    async fn registry(self: &Arc<Self>, runtime: &Handle) -> Check {
        let (url, pull_policy) = (&self.config.registry.url, self.config.registry.pull_policy);
        if pull_policy == PullPolicy::Never {
            return Check::new(true, format!("{url} is not asked (PROXY_PULL_POLICY=never)"));
        }
        let known = self.puller.registry().last_contact().filter(is_fresh);
        let check = if let Some(contact) = known {
            answered(contact)
        } else {
            let (service, halt) = (Arc::clone(self), self.vitals.halt.clone());
            let ping = self.vitals.attempts.track_future(async move {
                let contact = halt.run_until_cancelled(service.puller.registry().ping()).await;
                contact.map_or_else(|| Check::new(false, "the service has ended"), answered)
            });
            self.vitals.registry.outcome(ping, runtime).await
        };
        Check { detail: format!("{url}: {}", check.detail).into(), ..check }
    }

    fn broker(&self) -> Check {
        let address = &self.config.mqtt.address;
        match &*lock(&self.vitals.links) {
            None => Check::new(false, "the service does not take requests"),
            Some((links, _)) if links.iter().all(|link| link.borrow().is_up) => {
                Check::new(true, format!("connected to {address} and subscribed"))
            }
            Some(_) => Check::new(false, format!("no connection to {address}")),
        }
    }
}

/// Whether a contact with the registry is recent enough to say how it is now.
fn is_fresh(contact: &Contact) -> bool {
    let good_for = if contact.outcome.is_ok() { REGISTRY_GOOD_FOR } else { REGISTRY_BAD_FOR };
    contact.at.elapsed() < good_for
}

fn answered(contact: Contact) -> Check {
    match contact.outcome {
        Ok(()) => Check::new(true, "it answers"),
        Err(detail) => Check::new(false, detail),
    }
}

/// Looks at a disk where it may wait.
async fn disk(look: impl FnOnce() -> Check + Send + 'static) -> Check {
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| failed(&error))
}

fn written(outcome: io::Result<&Path>) -> Check {
    outcome.map_or_else(
        |error| failed(&error),
        |folder| Check::new(true, format!("{} can be written to", folder.display())),
    )
}

fn failed(error: &impl fmt::Display) -> Check {
    Check::new(false, format!("it cannot be written to: {error}"))
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use tokio::runtime;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::embedded::broker::{Access, Broker};
    use crate::service::TICK;

    fn service(broker: &Broker, registry: &str, folder: &Path) -> Arc<Service> {
        let config = Config::load(&Sources::of_variables(|name| match name {
            "PROXY_MQTT_ADDRESS" => Some(broker.address().into()),
            "PROXY_REGISTRY_URL" => Some(registry.into()),
            "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" => Some("x".into()),
            "PROXY_CACHE_DIR" | "PROXY_STATE_DIR" => Some(folder.join(name).into()),
            _ => None,
        }));
        Service::new(config.unwrap()).unwrap()
    }

    /// Its temporary folders would be left behind otherwise.
    #[tokio::test]
    async fn nothing_has_the_service_after_its_end() {
        let (broker, folder) = (Broker::start(Access::Anonymous).await.unwrap(), tempfile::tempdir().unwrap());
        // Connections wait to be accepted.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let service = service(&broker, &silent.local_addr().unwrap().to_string(), folder.path());
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (service, stop) = (Arc::clone(&service), stop.clone());
            async move { service.run(stop).await }
        });
        service.ready().wait_for(|ready| *ready).await.unwrap();
        let Readiness { broker: link, registry, store, state } = service.readiness().await;
        assert_eq!([link, registry, store, state].map(|check| check.ok), [true, false, true, true]);
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(Arc::into_inner(service).is_some());
        broker.stop().await;
    }

    /// The loop waits for a lock that a thread holds, as it would for anything that hangs.
    #[tokio::test]
    async fn the_pulse_stands_still_while_the_loop_hangs() {
        let (broker, folder) = (Broker::start(Access::Anonymous).await.unwrap(), tempfile::tempdir().unwrap());
        let (service, stop) = (service(&broker, "x", folder.path()), CancellationToken::new());
        // It may take the timers of its runtime with it.
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.spawn({
            let (service, stop) = (Arc::clone(&service), stop.clone());
            async move { service.run(stop).await }
        });
        let mut pulse = service.pulse();
        for _ in 0..2 {
            tokio::time::timeout(5 * TICK, pulse.changed()).await.unwrap().unwrap();
        }

        let ((holds, held), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let holder = thread::spawn(move || {
            let _guard = lock(&service.under_way);
            holds.send(()).unwrap();
            let _ = released.recv();
        });
        held.recv().unwrap();
        // One beat may have been past the lock.
        let _ = tokio::time::timeout(2 * TICK, pulse.changed()).await;
        assert!(tokio::time::timeout(3 * TICK, pulse.changed()).await.is_err(), "it goes on");

        drop(release);
        tokio::time::timeout(5 * TICK, pulse.changed()).await.unwrap().unwrap();
        holder.join().unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
        runtime.shutdown_background();
        broker.stop().await;
    }
}
