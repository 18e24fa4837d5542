//! A stock proplet's side of wire protocol 1: it asks, and assembles what it hears by the rules of the devices.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::MqttConfig;
use crate::error::Error;
use crate::link::{Acknowledgement, Link, LinkOptions, Message, Retries, Session, Subscription};
use crate::sync::lock;
use crate::topic::{Channel, Layout, Role};

pub use crate::delivery::schedule::TASK_TIMEOUT;
/// Age after its first chunk at which an incomplete assembly is swept.
pub const ASSEMBLY_TTL: Duration = Duration::from_secs(300);
/// Largest packet a stock proplet receives, bytes.
pub const MAX_PACKET: usize = 10 << 20;

/// How often the broker hears from it at least.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Messages that may wait for the broker.
const QUEUE: usize = 20;

/// The assemblies of one proplet: every chunk it hears, asked or not, by `app_name`.
#[derive(Debug, Default)]
pub struct Assemblies(HashMap<String, Assembly>);

/// The chunks of one module so far.
#[derive(Debug)]
struct Assembly {
    chunks: BTreeMap<u64, Vec<u8>>,
    total_chunks: u64,
    begun: Instant,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// A new chunk was stored.
    Stored,
    /// The index was there already; the first copy stays.
    Repeated,
    /// Its `total_chunks` is not that of the assembly; it is dropped.
    OtherTotal,
    /// It is no chunk.
    Unreadable,
}

/// How many messages met each [`Reception`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// New chunks.
    pub stored: u64,
    /// Chunks heard before.
    pub repeated: u64,
    /// Chunks of another total.
    pub other_total: u64,
    /// Messages that are no chunks.
    pub unreadable: u64,
}

impl Tally {
    fn count(&mut self, reception: Reception) {
        *match reception {
            Reception::Stored => &mut self.stored,
            Reception::Repeated => &mut self.repeated,
            Reception::OtherTotal => &mut self.other_total,
            Reception::Unreadable => &mut self.unreadable,
        } += 1;
    }
}

/// A message of wire protocol 1 as a device reads it.
#[derive(Deserialize)]
struct Chunk {
    app_name: String,
    #[serde(rename = "chunk_idx")]
    index: u64,
    total_chunks: u64,
    data: String,
}

impl Assemblies {
    /// Takes in a message that was heard at `now`.
    pub fn receive(&mut self, message: &[u8], now: Instant) -> Reception {
        let Ok(chunk) = serde_json::from_slice::<Chunk>(message) else { return Reception::Unreadable };
        let Ok(data) = base64_simd::STANDARD.decode_to_vec(chunk.data) else { return Reception::Unreadable };
        let assembly = self.0.entry(chunk.app_name).or_insert_with(|| Assembly {
            chunks: BTreeMap::new(),
            total_chunks: chunk.total_chunks,
            begun: now,
        });
        if assembly.total_chunks != chunk.total_chunks {
            return Reception::OtherTotal;
        }
        match assembly.chunks.entry(chunk.index) {
            Entry::Vacant(place) => {
                place.insert(data);
                Reception::Stored
            }
            Entry::Occupied(_) => Reception::Repeated,
        }
    }

    /// The number of chunks of a module that are there, and of all.
    #[must_use]
    pub fn progress(&self, app_name: &str) -> (u64, u64) {
        self.0.get(app_name).map_or((0, 0), |assembly| (assembly.chunks.len() as u64, assembly.total_chunks))
    }

    /// Takes a module out if it is complete, as the task that polls next does.
    pub fn take(&mut self, app_name: &str) -> Option<Vec<u8>> {
        let assembly = self.0.get(app_name)?;
        if assembly.chunks.len() as u64 != assembly.total_chunks {
            return None;
        }
        let assembly = self.0.remove(app_name)?;
        Some(assembly.chunks.into_values().collect::<Vec<_>>().concat())
    }

    /// Removes what is older than [`ASSEMBLY_TTL`]; devices do so every 60 s.
    pub fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, assembly| now.duration_since(assembly.begun) < ASSEMBLY_TTL);
    }
}

/// A proplet on a channel.
///
/// It loses and finds the broker as devices do, and differs from one in two ways: a task sees its module as soon as it is complete, not at its next poll, and
/// nothing is swept.
#[derive(Debug)]
pub struct Proplet {
    link: Link,
    request_topic: String,
    heard: Arc<Heard>,
    /// Counts the messages heard, to wake those who wait.
    messages: watch::Receiver<u64>,
}

#[derive(Debug, Default)]
struct Heard {
    assemblies: Mutex<Assemblies>,
    tally: Mutex<Tally>,
}

impl Proplet {
    /// Connects and subscribes to the answers of one layout of `channel`.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`], [`Error::Setup`].
    pub async fn connect(mqtt: &MqttConfig, channel: &Channel, layout: Layout) -> Result<Self, Error> {
        let filter = channel.topic(layout, Role::Answer);
        let options = LinkOptions {
            client_id: format!("proplet-{}", Uuid::new_v4()),
            session: Session::Clean,
            subscriptions: vec![Subscription { filter, qos: mqtt.qos, is_required: true }],
            will: None,
            qos: mqtt.qos,
            by_receipt: false,
            keep_alive: KEEP_ALIVE,
            broker_hangs: Arc::default(),
            retries: Retries::STOCK,
            queue: QUEUE,
            max_incoming: MAX_PACKET,
            max_outgoing: MAX_PACKET,
            is_talkative: true,
        };
        let heard = Arc::new(Heard::default());
        let (counter, messages) = watch::channel(0);
        let listener = Arc::clone(&heard);
        let mut link = Link::open(mqtt, options, move |message: Message<'_>| {
            let reception = lock(&listener.assemblies).receive(&message.payload, Instant::now());
            lock(&listener.tally).count(reception);
            counter.send_modify(|count| *count += 1);
        })?;
        let mut health = link.health();
        tokio::select! {
            end = link.ended() => end?,
            _ = health.wait_for(|health| health.is_up) => {}
        }
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
                let (chunks, total_chunks) = lock(&self.heard.assemblies).progress(app_name);
                progress(chunks, total_chunks);
                let module = lock(&self.heard.assemblies).take(app_name);
                if module.is_some() || messages.changed().await.is_err() {
                    return module;
                }
            }
        };
        tokio::time::timeout(TASK_TIMEOUT, assembled).await.ok().flatten()
    }

    /// What became of the messages heard so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        *lock(&self.heard.tally)
    }

    /// Disconnects.
    pub async fn close(self) {
        self.link.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Encoder;

    #[test]
    fn chunks_assemble_in_any_order_and_the_first_copy_wins() {
        let (encoder, now) = (Encoder::new("a", 3), Instant::now());
        let mut assemblies = Assemblies::default();
        for (index, data) in [(2, "c"), (0, "a"), (0, "x"), (1, "b")] {
            assert_eq!(assemblies.take("a"), None);
            assemblies.receive(&encoder.message(index, data.as_bytes()), now);
        }
        assert_eq!(assemblies.take("a").unwrap(), b"abc");
        assert_eq!(assemblies.take("a"), None);
    }

    #[test]
    fn another_total_is_dropped_and_noise_ignored() {
        let now = Instant::now();
        let mut assemblies = Assemblies::default();
        assemblies.receive(&Encoder::new("a", 3).message(0, b"a"), now);
        assert_eq!(assemblies.receive(&Encoder::new("a", 2).message(1, b"b"), now), Reception::OtherTotal);
        assert_eq!(assemblies.receive(b"{}", now), Reception::Unreadable);
        assert_eq!(assemblies.progress("a"), (1, 3));
    }

    #[test]
    fn an_assembly_dies_after_its_time() {
        let now = Instant::now();
        let mut assemblies = Assemblies::default();
        assemblies.receive(&Encoder::new("a", 2).message(0, b"a"), now);
        assemblies.sweep(now + Duration::from_secs(299));
        assert_eq!(assemblies.progress("a"), (1, 2));
        assemblies.sweep(now + ASSEMBLY_TTL);
        assert_eq!(assemblies.progress("a"), (0, 0));
    }
}
