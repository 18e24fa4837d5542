//! The service: takes requests from its channels and delivers modules.

mod admission;
mod asks;
mod deliveries;
mod group;
mod intake;
mod presence;
mod resume;
mod steps;
mod vitals;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, debug_span, field, info};

use self::asks::Ask;
use self::deliveries::{Deliveries, Sending, UnderWay};
use self::group::{Claim, Group};
use self::intake::Intake;
use self::presence::Presences;
use self::vitals::Vitals;
use crate::config::Config;
use crate::delivery::MAX_OPEN_MODULES;
use crate::delivery::rules::schedule::TransferId;
use crate::delivery::rules::versions::Versions;
use crate::delivery::sender::{Module, Sender};
use crate::error::Error;
use crate::mqtt::status;
use crate::mqtt::topic::{App, Channels};
use crate::mqtt::{Ack, Connection, Health};
use crate::oci::pull::{Pulled, Puller};
use crate::oci::reference::Reference;
use crate::oci::wasm;
use crate::state::{Left, State};
use crate::telemetry::events::{Journal, Report, What};
use crate::telemetry::status::Reporter;
use crate::util::clock::Clock;
use crate::util::fields::int;
use crate::util::sync::lock;

/// How old a request that was kept for the proxy may be: its device waits until it is 55 s old.
const MAX_REQUEST_AGE: Duration = Duration::from_secs(50);
/// How long open deliveries may go on when the service is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often things are looked after that nobody waits for.
const TICK: Duration = Duration::from_secs(1);
/// How often the state notes that the proxy is there, ticks.
const PRESENT_TICKS: u64 = 5;
/// How often what is out of date is forgotten, ticks.
const FORGET_TICKS: u64 = 60;

/// A proxy.
#[derive(Debug)]
pub struct Service {
    config: Config,
    instance: String,
    clock: Clock,
    puller: Puller,
    /// A place for every module that is being fetched or sent.
    open_modules: Semaphore,
    versions: Mutex<Versions>,
    state: Arc<State>,
    reporter: Arc<Reporter>,
    journal: Arc<Journal>,
    courier: Sender,
    /// Whether devices can ask; else only who is in this process.
    takes_requests: bool,
    group: Option<Group>,
    next_request: AtomicU64,
    /// What is asked for inside this process, until the service runs and takes the other end.
    asks: mpsc::Sender<Ask>,
    waiting_asks: Mutex<Option<mpsc::Receiver<Ask>>>,
    under_way: Mutex<HashMap<TransferId, UnderWay>>,
    left: Mutex<Left>,
    ready: watch::Sender<bool>,
    vitals: Vitals,
}

/// What a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A request.
    Request,
    /// Requests that an earlier process had begun to serve with the latest version.
    Resume,
    /// Devices that may have missed the latest version.
    Repeat,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Resume => "resume",
            Self::Repeat => "repeat",
        }
    }

    /// What it is called when it has gone well.
    fn success(self) -> &'static str {
        if self == Self::Repeat { "repeated" } else { "sent" }
    }
}

impl Service {
    /// A service that is not connected yet.
    ///
    /// # Errors
    /// [`Error::Setup`] if the HTTP client cannot be made, [`Error::Disk`] if the store or the state cannot be opened.
    pub fn new(config: Config) -> Result<Arc<Self>, Error> {
        let state = State::open(&config.state)?;
        Self::with(config, state, true)
    }

    fn with(config: Config, (state, left): (State, Left), takes_requests: bool) -> Result<Arc<Self>, Error> {
        let clock = Clock::start();
        let state = Arc::new(state);
        let instance = config.instance_id.clone().unwrap_or_else(|| left.instance_id.clone());
        let reporter = Arc::new(Reporter::new(instance.clone(), clock));
        let journal = Arc::<Journal>::default();
        let (asks, waiting_asks) = mpsc::channel(asks::MAX_WAITING);
        Ok(Arc::new(Self {
            puller: Puller::new(&config.registry, &config.store)?,
            courier: Sender::new(
                config.delivery.limits,
                clock,
                Arc::clone(&state),
                Arc::clone(&reporter),
                Arc::clone(&journal),
            ),
            takes_requests,
            group: config.share_group.is_some().then(|| Group::new(instance.clone())),
            open_modules: Semaphore::new(MAX_OPEN_MODULES),
            versions: Mutex::default(),
            next_request: AtomicU64::new(left.requests.last().map_or(0, |(id, _)| id + 1)),
            left: Mutex::new(left),
            ready: watch::Sender::new(false),
            vitals: Vitals::new(),
            config,
            instance,
            clock,
            state,
            reporter,
            journal,
            asks,
            waiting_asks: Mutex::new(Some(waiting_asks)),
            under_way: Mutex::default(),
        }))
    }

    /// The id of this proxy: as configured, or made up and kept.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance
    }

    /// What becomes of its deliveries.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The number of modules that are being fetched or sent for somebody.
    #[must_use]
    pub fn open_transfers(&self) -> usize {
        self.courier.open_transfers()
    }

    /// How many chunks of `app` were acknowledged so far, those for late joiners included, and how many it has; `None`
    /// if it is not being sent.
    #[must_use]
    pub fn progress(&self, app: &App) -> Option<(u64, u64)> {
        self.courier.progress(app)
    }

    /// The channels it serves.
    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.config.channels
    }

    /// Tells whether the service is subscribed to its requests, now and on each change.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The path of a module, from a device's request to the broker's acknowledgement of its last chunk. `None` if
    /// somebody else serves the requests: another replica, or a newer transfer in place of a repetition.
    async fn deliver(&self, id: TransferId, app: &App, purpose: Purpose) -> Result<Option<Report>, Error> {
        let begun = Instant::now();
        let _place = self.open_modules.acquire().await;
        self.journal.note(app, What::Fetching);
        if purpose != Purpose::Repeat {
            self.reporter.tell(app, status::State::Fetching);
        }
        let reference = Reference::parse(&app.name, &self.config.registry.url)?;

        let Pulled { root, module, .. } = self.pull(app, &reference, purpose).await?;
        let (digest, size) = (module.digest(), module.size());
        self.journal.note(app, What::Fetched { digest, size });
        debug_span!("verify").in_scope(|| wasm::check(&module))?;

        let (plan, _sending) = loop {
            let plan = self.plan(app, &reference, root, &module)?;
            let sending = Sending { service: self, app, digest };
            info!(event = "verified", app_name = &*app.name, %digest, size = int(size), total_chunks = int(plan.total_chunks()), "verified");
            match self.settle(app, digest, &plan, purpose).instrument(debug_span!("plan")).await? {
                Claim::Hold => break (plan, sending),
                Claim::GiveWay => return Ok(None),
                Claim::Clash => lock(&self.versions).withdraw(app, digest, &plan),
            }
        };
        let span = Span::current();
        span.record("digest", field::display(digest)).record("size", int(size));
        span.record("total_chunks", int(plan.total_chunks()));
        self.journal.note(app, What::Verified { digest, plan });
        if purpose != Purpose::Repeat {
            self.reporter.tell_progress(app, status::State::Sending, digest, &plan, 0);
        }
        let module = Module { blob: module, plan, is_repeat: purpose == Purpose::Repeat, begun };
        match self.courier.send(id, app, module).instrument(debug_span!("send")).await? {
            // Only what nobody has asked for is taken over by a newer transfer.
            None if purpose != Purpose::Repeat => Err(Error::Withdrawn { app_name: app.name.to_string() }),
            sent => Ok(sent),
        }
    }

    /// Serves requests until `stop`; then finishes what it can within two seconds and disconnects. It can be run once.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`] if the broker refuses the first connection or subscription. An absent broker is waited
    /// for.
    pub async fn run(self: &Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let end = self.serve(stop).await;
        self.vitals.end().await;
        let state = Arc::clone(&self.state);
        // Fails if that panics, which is logged there.
        let _ = tokio::task::spawn_blocking(move || state.close()).await;
        end
    }

    async fn serve(self: &Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let mut asks = self.take_asks();
        let presences = if self.takes_requests {
            Presences::new(&self.config.channels, &self.instance, self.clock.now())
        } else {
            Presences::default()
        };
        let Intake { mut requests, mut chunks, mut group, mut arrivals } = Intake::open(self, &presences)?;
        let mut group_health = group.as_ref().map(Connection::health);
        self.reporter.connect(requests.publisher());
        let (mut requests_health, mut chunks_health) = (requests.health(), chunks.health());
        let links = self.vitals.watch([requests.health(), chunks.health()]);

        let publisher = chunks.publisher();
        let mut courier = pin!(self.courier.run(&publisher, self.config.delivery.max_in_flight));
        let mut deliveries = Deliveries::of(self);
        let present = self.resume(&mut deliveries);
        let mut ticks = tokio::time::interval(TICK);
        let mut tick = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                end = requests.ended() => return end,
                end = chunks.ended() => return end,
                Some(end) = ended(group.as_mut()) => return end,
                () = &mut courier => {
                    // The link says why; if it does not, there is still somebody who may stop us.
                    tokio::select! {
                        end = chunks.ended() => return end,
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                Ok(()) = requests_health.changed() => {
                    let health = *requests_health.borrow_and_update();
                    self.ready.send_replace(health.is_up);
                    self.journal.note_proxy(if health.is_up { What::Connected } else { What::Disconnected });
                    if health.is_up {
                        presences.tell(&requests.publisher(), true);
                    }
                }
                Ok(()) = chunks_health.changed() => {
                    let health = *chunks_health.borrow_and_update();
                    if health.is_up {
                        if requests_health.borrow().is_up {
                            presences.tell(&requests.publisher(), true);
                        }
                        self.recover(health);
                    }
                }
                Some(()) = changed(group_health.as_mut()) => {
                    // What the others told while the link was down was not heard.
                    self.be_unsure();
                }
                Some(arrival) = arrivals.recv() => {
                    let away = self.away(present, *requests_health.borrow());
                    self.arrived(arrival, away, &mut deliveries);
                }
                Some(ask) = asks.next() => self.admit_ask(ask, &mut deliveries),
                repeats = self.courier.repeats() => for (id, app) in repeats {
                    info!(event = "repeating", app_name = &*app.name, "repeating");
                    deliveries.begin(id, app, Purpose::Repeat);
                },
                Some(_) = deliveries.tasks.join_next() => {}
                _ = ticks.tick() => {
                    tick += 1;
                    self.look_after(tick, requests_health.borrow().is_up, &mut deliveries);
                    self.beat(arrivals.len());
                }
            }
        }
        drop(links);
        info!(event = "stopping", open_transfers = deliveries.tasks.len(), "stopping");
        tokio::select! {
            () = courier => {}
            () = deliveries.finished() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
        }
        deliveries.halt.cancel();
        deliveries.finished().await;
        if requests_health.borrow().is_up {
            self.be_present();
        }
        presences.tell(&requests.publisher(), false);
        tokio::join!(requests.close(), chunks.close(), async {
            if let Some(group) = group {
                group.close().await;
            }
        });
        self.ready.send_replace(false);
        Ok(())
    }

    /// The link for chunks is up. What the broker had may be lost.
    fn recover(&self, Health { connections, outage, .. }: Health) {
        if connections <= 1 {
            return;
        }
        let apps = self.courier.recover(outage);
        if apps > 0 {
            info!(event = "coverage-restarted", apps, outage = outage.as_secs_f64(), "covering again");
        }
    }

    /// Notes that devices can ask.
    fn be_present(&self) {
        if self.takes_requests {
            self.state.be_present(self.clock.now());
        }
    }

    fn look_after(self: &Arc<Self>, tick: u64, is_up: bool, deliveries: &mut Deliveries<'_>) {
        let now = self.clock.now();
        if is_up && tick.is_multiple_of(PRESENT_TICKS) {
            self.be_present();
        }
        if tick.is_multiple_of(FORGET_TICKS) {
            for app in lock(&self.versions).forget(now) {
                self.state.note_versions(app, Vec::new());
            }
        }
        let Some(group) = &self.group else { return };
        for (app, arrivals) in group.orphans(now) {
            debug!(app_name = &*app.name, "nobody else is at it");
            for arrived in arrivals {
                self.request(&app, arrived, Ack::default(), deliveries);
            }
        }
        if is_up
            && let Some(app) = self.courier.any_open()
            && self.reporter.silence() >= Group::HEARTBEAT
        {
            self.reporter.tell(&app, status::State::Fetching);
        }
    }
}

/// Waits for the end of a link, if there is one.
async fn ended(link: Option<&mut Connection>) -> Option<Result<(), Error>> {
    Some(link?.ended().await)
}

/// Waits until a link is doing otherwise, if there is one.
async fn changed(health: Option<&mut watch::Receiver<Health>>) -> Option<()> {
    health?.changed().await.ok()
}
