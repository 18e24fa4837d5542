//! Readiness: one loop, which checks on demand whether the proxy can do its work, and writes the result with its time.
//!
//! While a disk, a registry or the runtime hangs, readers see a result that is out of date.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::mqtt::{BrokerAddress, Health};
use crate::oci::host::RegistryUrl;
use crate::oci::options::PullPolicy;
use crate::oci::pull::Puller;
use crate::oci::registry::Contact;
use crate::state::State;

/// How long a result of the readiness loop is returned without a new check.
#[doc(alias = "bound")]
pub(super) const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long one check of the readiness loop may take.
#[doc(alias = "bound")]
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a response of the registry counts as reachable without a ping.
#[doc(alias = "bound")]
const REGISTRY_GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a failure of the registry counts without a ping.
#[doc(alias = "bound")]
const REGISTRY_BAD_FOR: Duration = Duration::from_secs(10);
/// How long the result of a write check of a folder is used.
#[doc(alias = "bound")]
const DISK_GOOD_FOR: Duration = Duration::from_secs(5);

/// Whether the proxy can do its work, and what is in its way.
#[derive(Debug, Clone)]
pub struct Checked {
    /// When that was checked.
    pub at: Instant,
    /// What it needs, by name.
    pub checks: [(&'static str, Check); 4],
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether it holds.
    pub ok: bool,
    /// What was observed, for people.
    pub detail: Cow<'static, str>,
}

impl Check {
    fn new(ok: bool, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { ok, detail: detail.into() }
    }
}

/// What is checked.
pub(super) struct Readinesses {
    pub(super) broker: BrokerAddress,
    pub(super) connections: [watch::Receiver<Health>; 2],
    pub(super) registry: RegistryUrl,
    pub(super) pull_policy: PullPolicy,
    pub(super) puller: Arc<Puller>,
    pub(super) state: Arc<State>,
}

/// Something that may hang, tried by one task at a time.
#[derive(Default)]
struct Attempt {
    running: Option<AbortOnDropHandle<Check>>,
    latest: Option<(Instant, Check)>,
}

impl Attempt {
    /// The latest outcome, while it counts; else that of a new attempt, or of the one that still hangs.
    async fn outcome(&mut self, good_for: Duration, start: impl FnOnce() -> JoinHandle<Check>) -> Check {
        if let Some((at, check)) = &self.latest
            && at.elapsed() < good_for
        {
            return check.clone();
        }
        let running = self.running.get_or_insert_with(|| AbortOnDropHandle::new(start()));
        let Ok(outcome) = timeout(CHECK_TIMEOUT, running).await else {
            return Check::new(false, format!("no answer within {} s", CHECK_TIMEOUT.as_secs()));
        };
        self.running = None;
        let check = outcome.unwrap_or_else(|error| unwritable(&error));
        self.latest = Some((Instant::now(), check.clone()));
        check
    }
}

impl Readinesses {
    /// Checks whenever the demand for a result is notified.
    pub(super) async fn run(self, demand: Arc<Notify>, results: watch::Sender<Option<Checked>>) {
        let [mut registry, mut store, mut state] = <[Attempt; 3]>::default();
        loop {
            demand.notified().await;
            let (puller, disk) = (Arc::clone(&self.puller), Arc::clone(&self.state));
            let (registry, store, state) = tokio::join!(
                self.registry(&mut registry),
                store.outcome(DISK_GOOD_FOR, || spawn_blocking(move || written(puller.store.try_writing()))),
                state.outcome(DISK_GOOD_FOR, || spawn_blocking(move || written(disk.try_writing())))
            );
            let checks = [("broker", self.broker()), ("registry", registry), ("store", store), ("state", state)];
            results.send_replace(Some(Checked { at: Instant::now(), checks }));
        }
    }

    fn broker(&self) -> Check {
        if self.connections.iter().all(|connection| connection.borrow().is_up) {
            return Check::new(true, format!("connected to {} and subscribed", self.broker));
        }
        Check::new(false, format!("no connection to {}", self.broker))
    }

    async fn registry(&self, ping: &mut Attempt) -> Check {
        let url = &self.registry;
        if self.pull_policy == PullPolicy::Never {
            return Check::new(true, format!("{url} is not asked (PROXY_PULL_POLICY=never)"));
        }
        let counts = |Contact { at, outcome }: &Contact| {
            at.elapsed() < if outcome.is_ok() { REGISTRY_GOOD_FOR } else { REGISTRY_BAD_FOR }
        };
        let known = self.puller.registry.last_contact().filter(counts);
        let check = if let Some(contact) = known {
            of_contact(contact)
        } else {
            let puller = Arc::clone(&self.puller);
            let start = || tokio::spawn(async move { of_contact(puller.registry.ping().await) });
            ping.outcome(Duration::ZERO, start).await
        };
        Check { detail: format!("{url}: {}", check.detail).into(), ..check }
    }
}

fn of_contact(Contact { outcome, .. }: Contact) -> Check {
    match outcome {
        Ok(()) => Check::new(true, "it answers"),
        Err(reason) => Check::new(false, reason),
    }
}

fn written(outcome: io::Result<&Path>) -> Check {
    outcome.map_or_else(
        |error| unwritable(&error),
        |folder| Check::new(true, format!("{} can be written to", folder.display())),
    )
}

fn unwritable(error: &impl fmt::Display) -> Check {
    Check::new(false, format!("it cannot be written to: {error}"))
}
