//! A stock proplet's side of wire protocol 1: it asks, and assembles what it hears by the rules of the devices.

mod assembly;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch as counter;
use uuid::Uuid;

pub use self::assembly::{ASSEMBLY_TTL, Assemblies, Reception, Tally};
use self::assembly::{Assembly, Chunk};
pub use self::watch::SeenChunk;
use self::watch::Watch;
use crate::error::Error;
use crate::mqtt::BrokerOptions;
use crate::mqtt::request::MAX_REQUEST_SIZE;
use crate::mqtt::status::Status;
use crate::mqtt::topic::{Channel, Layout, Role};
use crate::mqtt::{Acknowledgement, Backoff, Connection, ConnectionOptions, Message, Session, Subscription};
use crate::oci::digest::Digest;
use crate::oci::wasm;
use crate::util::sync::lock;

pub use crate::delivery::rules::schedule::TASK_TIMEOUT;
/// Largest packet a stock proplet receives, bytes.
pub const MAX_PACKET: usize = 10 << 20;
/// Chunks that are listed as they were heard; the oldest go first.
pub const MAX_SEEN: usize = 1 << 16;

/// How often the broker hears from it at least.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Messages on their way to the broker at once.
const MAX_IN_FLIGHT: u16 = 20;
/// Messages that may wait for the broker.
const QUEUE: usize = 20;
/// How often old assemblies are swept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long a module waits for what a proxy tells of it: that comes by another connection.
const STATUS_GRACE: Duration = Duration::from_millis(500);

/// A proplet on a channel.
///
/// It loses and finds the broker as devices do, and differs from one in that a task sees its module as soon as it is
/// complete, not at its next poll; and that it hears what proxies tell, for those who want to know.
#[derive(Debug)]
pub struct Proplet {
    link: Connection,
    request_topic: String,
    heard: Arc<Mutex<Heard>>,
    /// Counts the messages heard, to wake those who wait.
    messages: counter::Receiver<u64>,
}

#[derive(Debug, Default)]
struct Heard {
    assemblies: Assemblies,
    tally: Tally,
    seen: VecDeque<SeenChunk>,
    watches: HashMap<u64, Watch>,
    watched: u64,
    swept: Option<Instant>,
}

/// What one who asks insists on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How long to wait.
    pub timeout: Duration,
    /// What the module has to be, if that is known beforehand.
    pub digest: Option<Digest>,
    /// Whether each chunk has to come once and in order.
    pub is_strict: bool,
}

/// A module that was assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its bytes, in the pieces in which they came.
    pub pieces: Vec<Vec<u8>>,
    /// Their SHA-256.
    pub digest: Digest,
    /// Whether that was compared with what was wished for, or with what a proxy told.
    pub is_verified: bool,
}

impl Proplet {
    /// Connects and subscribes to the answers of one layout of `channel`.
    ///
    /// # Errors
    /// As [`Connection::established`].
    pub async fn connect(mqtt: &BrokerOptions, channel: &Channel, layout: Layout) -> Result<Self, Error> {
        let subscribe = |role, is_required| {
            let filter = channel.topic(layout, role);
            Subscription { filter, qos: mqtt.qos, is_required }
        };
        let options = ConnectionOptions {
            client_id: format!("proplet-{}", Uuid::new_v4()),
            session: Session::Clean,
            subscriptions: vec![subscribe(Role::Answer, true), subscribe(Role::Status, false)],
            will: None,
            qos: mqtt.qos,
            by_receipt: false,
            keep_alive: KEEP_ALIVE,
            broker_hangs: Arc::default(),
            retries: Backoff::STOCK,
            queue: QUEUE,
            max_in_flight: MAX_IN_FLIGHT,
            max_incoming: MAX_PACKET,
            max_outgoing: MAX_PACKET,
            is_talkative: true,
        };
        let heard = Arc::<Mutex<Heard>>::default();
        let (count, messages) = counter::channel(0);
        let listener = Arc::clone(&heard);
        let status_topic = channel.topic(layout, Role::Status);
        let hear = move |message: Message<'_>| {
            if message.topic == status_topic {
                lock(&listener).hear_status(&message.payload);
            } else {
                let chunk = Chunk::read(&message.payload);
                lock(&listener).hear(chunk);
            }
            count.send_modify(|count| *count += 1);
        };
        let link = Connection::established(mqtt, options, hear).await?;
        Ok(Self { link, request_topic: channel.topic(layout, Role::Request), heard, messages })
    }

    /// Publishes a request and returns when the broker has it.
    pub async fn ask(&self, app_name: &str) -> Acknowledgement {
        self.publish(serde_json::json!({ "app_name": app_name }).to_string().into()).await
    }

    /// Publishes anything on the request topic and returns when the broker has it.
    pub async fn publish(&self, payload: Bytes) -> Acknowledgement {
        self.link.publisher().publish(&self.request_topic, payload).await.await
    }

    /// Asks for a module and waits until it is assembled; `None` if it is not within [`TASK_TIMEOUT`].
    pub async fn request(&self, app_name: &str) -> Option<Vec<u8>> {
        self.request_with(app_name, |_, _| {}).await
    }

    /// As [`Proplet::request`], and tells the chunks that are there and all of them as they come.
    pub async fn request_with(&self, app_name: &str, progress: impl Fn(u64, u64)) -> Option<Vec<u8>> {
        let mut messages = self.messages.clone();
        let assembled = async {
            self.ask(app_name).await;
            loop {
                let (chunks, total_chunks) = self.progress(app_name);
                progress(chunks, total_chunks);
                let module = lock(&self.heard).assemblies.take(app_name);
                if module.is_some() || messages.changed().await.is_err() {
                    return module;
                }
            }
        };
        tokio::time::timeout(TASK_TIMEOUT, assembled).await.ok().flatten()
    }

    /// Asks for a module as [`Proplet::request`], and tells why if it does not come, or not as it was wished for. A
    /// module is compared with what the proxy tells on the status topic.
    ///
    /// # Errors
    /// [`Error::Reported`] as soon as a proxy tells that it will not deliver, [`Error::Timeout`], [`Error::Irregular`],
    /// [`Error::NotWasm`], [`Error::DigestMismatch`], [`Error::Stopping`] if the proplet is closed.
    pub async fn obtain(&self, app_name: &str, wish: &Wish) -> Result<Assembled, Error> {
        let watching = Watching::begin(&self.heard, app_name, wish.is_strict);
        let assembled = self.assembled(app_name, &watching);
        let assembly = tokio::time::timeout(wish.timeout, assembled).await.unwrap_or_else(|_| {
            let (chunks, total_chunks) = self.progress(app_name);
            Err(Error::Timeout { app_name: app_name.into(), waited: wish.timeout, chunks, total_chunks })
        })?;
        let hashed = tokio::task::spawn_blocking(move || assembly.digest()).await;
        let (digest, assembly) = hashed.map_err(|_| Error::Stopping { app_name: app_name.into() })?;
        let pieces = assembly.into_pieces();
        let start: Vec<u8> = pieces.iter().flatten().take(wasm::PREAMBLE_SIZE).copied().collect();
        wasm::check_start(digest, &start)?;
        let told = match wish.digest {
            Some(wanted) => vec![wanted],
            None => self.told(&watching).await,
        };
        let is_verified = told.contains(&digest);
        match told.first() {
            Some(expected) if !is_verified => {
                Err(Error::DigestMismatch { object: expected.to_string(), actual: digest.to_string() })
            }
            _ => Ok(Assembled { pieces, digest, is_verified }),
        }
    }

    async fn assembled(&self, app_name: &str, watching: &Watching<'_>) -> Result<Assembly, Error> {
        let mut messages = self.messages.clone();
        let closed = || Error::Stopping { app_name: app_name.into() };
        if self.ask(app_name).await == Acknowledgement::Closed {
            return Err(closed());
        }
        loop {
            {
                let mut heard = lock(&self.heard);
                let Heard { assemblies, watches, .. } = &mut *heard;
                if let Some(watch) = watches.get(&watching.id) {
                    if let Some(reason) = watch.irregularity.clone() {
                        return Err(Error::Irregular { app_name: app_name.into(), reason });
                    }
                    if let Some(failure) = &watch.failure {
                        return Err(failure.clone());
                    }
                }
                if let Some(assembly) = assemblies.take_assembly(app_name) {
                    return Ok(assembly);
                }
            }
            messages.changed().await.map_err(|_| closed())?;
        }
    }

    /// The digests that proxies told of what is watched, once there is one.
    async fn told(&self, watching: &Watching<'_>) -> Vec<Digest> {
        let mut messages = self.messages.clone();
        let told = async {
            loop {
                let digests = watching.digests();
                if !digests.is_empty() || messages.changed().await.is_err() {
                    return digests;
                }
            }
        };
        tokio::time::timeout(STATUS_GRACE, told).await.unwrap_or_default()
    }

    /// The number of chunks of a module that are there, and of all.
    #[must_use]
    pub fn progress(&self, app_name: &str) -> (u64, u64) {
        lock(&self.heard).assemblies.progress(app_name)
    }

    /// What became of the messages heard so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.heard).tally
    }

    /// The last [`MAX_SEEN`] chunks, as they were heard.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenChunk> {
        lock(&self.heard).seen.iter().cloned().collect()
    }

    /// Disconnects.
    pub async fn close(self) {
        self.link.close().await;
    }
}

impl Heard {
    fn hear(&mut self, chunk: Option<Chunk>) {
        let now = Instant::now();
        if self.swept.is_none_or(|swept| now - swept >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.assemblies.sweep(now);
        }
        let Some(chunk) = chunk else { return self.tally.count(Reception::Unreadable) };
        let mut seen = SeenChunk::of(&chunk, self.seen.back());
        seen.reception = self.assemblies.store(chunk, now);
        self.tally.count(seen.reception);
        self.watches.values_mut().for_each(|watch| watch.hear(&seen));
        if self.watches.values().any(|watch| watch.is_for(&seen.app_name)) {
            self.assemblies.hash(&seen.app_name);
        }
        if seen.app_name.len() > MAX_REQUEST_SIZE {
            // Nobody can have asked for it.
            return;
        }
        if self.seen.len() == MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    fn hear_status(&mut self, payload: &[u8]) {
        if let Ok(status) = serde_json::from_slice::<Status>(payload) {
            self.watches.values_mut().for_each(|watch| watch.hear_status(&status));
        }
    }
}

/// A watch that ends with who has begun it.
struct Watching<'a> {
    heard: &'a Mutex<Heard>,
    id: u64,
}

impl<'a> Watching<'a> {
    fn begin(heard: &'a Mutex<Heard>, app_name: &str, is_strict: bool) -> Self {
        let mut locked = lock(heard);
        locked.watched += 1;
        let id = locked.watched;
        locked.watches.insert(id, Watch::new(app_name, is_strict));
        Self { heard, id }
    }

    fn digests(&self) -> Vec<Digest> {
        lock(self.heard).watches.get(&self.id).map(|watch| watch.digests.clone()).unwrap_or_default()
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        lock(self.heard).watches.remove(&self.id);
    }
}
