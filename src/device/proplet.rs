//! A proplet on a channel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::assembly::{Assembly, Chunk, Tally};
use super::receiver::{Pending, Receiver, SeenChunk};
use crate::error::Error;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::{Channel, Layout, Role};
use crate::mqtt::{Acknowledgement, Backoff, BrokerOptions, Connection, ConnectionOptions, Message, Subscription};
use crate::oci::digest::Digest;
use crate::oci::wasm;
use crate::util::sync::lock;

/// Largest packet that a stock proplet receives, bytes.
#[doc(alias = "bound")]
pub const MAX_PACKET: usize = 10 << 20;

/// The keep-alive of its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Messages of a device that wait for the broker.
#[doc(alias = "bound")]
const QUEUE: usize = 20;
/// How long a complete module waits for the status message with its digest, which comes by another connection.
#[doc(alias = "bound")]
const STATUS_GRACE: Duration = Duration::from_millis(500);

/// A proplet on a channel.
///
/// It reconnects with the backoff of stock devices. It differs from them in two ways: a request gets its module as soon
/// as it is complete, not at the next poll, and the status topic is read, for [`Proplet::obtain`].
#[derive(Debug)]
pub struct Proplet {
    connection: Connection,
    request_topic: String,
    receiver: Arc<Mutex<Receiver>>,
    /// The number of messages so far: a change wakes the requests.
    messages: watch::Receiver<u64>,
}

/// What a request insists on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// How long to wait for the module.
    pub timeout: Duration,
    /// The digest of the module, if it is known beforehand.
    pub digest: Option<Digest>,
    /// Whether each chunk has to come once and in order.
    pub is_strict: bool,
}

/// A module that was assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its bytes, one piece a chunk.
    pub pieces: Vec<Vec<u8>>,
    /// Their SHA-256.
    pub digest: Digest,
    /// Whether the digest equals the expected one, or one of the status messages.
    pub is_verified: bool,
}

impl Proplet {
    /// Connects and subscribes to the answers of one layout of `channel`.
    ///
    /// # Errors
    /// As [`Connection::establish`].
    pub async fn connect(mqtt: &BrokerOptions, channel: &Channel, layout: Layout) -> Result<Self, Error> {
        let subscribe = |role, is_required| {
            let filter = channel.topic(layout, role);
            Subscription { filter, qos: mqtt.qos, is_required }
        };
        let options = ConnectionOptions {
            subscriptions: vec![subscribe(Role::Answer, true), subscribe(Role::Status, false)],
            qos: mqtt.qos,
            keep_alive: KEEP_ALIVE,
            backoff: Backoff::STOCK,
            queue: QUEUE,
            max_incoming: MAX_PACKET,
            max_outgoing: MAX_PACKET,
            is_logged: true,
            ..ConnectionOptions::new("proplet", Vec::new())
        };
        let receiver = Arc::<Mutex<Receiver>>::default();
        let (count, messages) = watch::channel(0);
        let receiving = Arc::clone(&receiver);
        let status_topic = channel.topic(layout, Role::Status);
        let on_message = move |message: Message<'_>| {
            if message.topic == status_topic {
                lock(&receiving).receive_status(&message.payload);
            } else {
                let chunk = Chunk::read(&message.payload);
                lock(&receiving).receive(chunk);
            }
            count.send_modify(|count| *count += 1);
        };
        let connection = Connection::establish(mqtt, options, on_message).await?;
        Ok(Self { connection, request_topic: channel.topic(layout, Role::Request), receiver, messages })
    }

    /// Publishes a request and returns when the broker has acknowledged it.
    pub async fn publish_request(&self, app_name: &str) -> Acknowledgement {
        self.publish(serde_json::json!({ "app_name": app_name }).to_string().into()).await
    }

    /// Publishes any payload on the request topic and returns when the broker has acknowledged it.
    pub async fn publish(&self, payload: Bytes) -> Acknowledgement {
        self.connection.publisher().publish(&self.request_topic, payload).await.await
    }

    /// Requests a module and waits until it is assembled; `None` if it is not within [`TASK_TIMEOUT`].
    pub async fn request(&self, app_name: &str) -> Option<Vec<u8>> {
        self.request_with(app_name, |_, _| {}).await
    }

    /// As [`Proplet::request`]; `progress` gets the number of chunks so far, and of all, after each message.
    pub async fn request_with(&self, app_name: &str, progress: impl Fn(u64, u64)) -> Option<Vec<u8>> {
        let mut messages = self.messages.clone();
        let assembled = async {
            self.publish_request(app_name).await;
            loop {
                let (chunks, total_chunks) = self.progress(app_name);
                progress(chunks, total_chunks);
                let module = lock(&self.receiver).assemblies.take(app_name);
                if module.is_some() || messages.changed().await.is_err() {
                    return module;
                }
            }
        };
        tokio::time::timeout(TASK_TIMEOUT, assembled).await.ok().flatten()
    }

    /// Requests a module as [`Proplet::request`], checks it, and reports why it does not come. Without an expected
    /// digest, it is checked against the digest in the proxy's status messages.
    ///
    /// # Errors
    /// [`Error::Reported`] as soon as a proxy publishes that it is not going to deliver, [`Error::Timeout`],
    /// [`Error::Irregular`], [`Error::NotWasm`], [`Error::DigestMismatch`], [`Error::Stopping`] if the proplet is closed.
    pub async fn obtain(&self, app_name: &str, options: &RequestOptions) -> Result<Assembled, Error> {
        let pending = Pending::new(&self.receiver, app_name, options.is_strict);
        let assembled = self.assembled(app_name, &pending);
        let assembly = tokio::time::timeout(options.timeout, assembled).await.unwrap_or_else(|_| {
            let (chunks, total_chunks) = self.progress(app_name);
            Err(Error::Timeout { app_name: app_name.into(), waited: options.timeout, chunks, total_chunks })
        })?;
        let hashed = tokio::task::spawn_blocking(move || assembly.finish()).await;
        let (digest, pieces) = hashed.map_err(|_| Error::Stopping { app_name: app_name.into() })?;
        let start: Vec<u8> = pieces.iter().flatten().take(wasm::PREAMBLE_SIZE).copied().collect();
        wasm::check_start(digest, &start)?;
        let expected = match options.digest {
            Some(expected) => vec![expected],
            None => self.published_digests(&pending).await,
        };
        let is_verified = expected.contains(&digest);
        match expected.first() {
            Some(expected) if !is_verified => {
                Err(Error::DigestMismatch { object: expected.to_string(), actual: digest.to_string() })
            }
            _ => Ok(Assembled { pieces, digest, is_verified }),
        }
    }

    async fn assembled(&self, app_name: &str, pending: &Pending<'_>) -> Result<Assembly, Error> {
        let mut messages = self.messages.clone();
        let closed = || Error::Stopping { app_name: app_name.into() };
        if self.publish_request(app_name).await == Acknowledgement::Closed {
            return Err(closed());
        }
        loop {
            if let Some(assembly) = pending.take()? {
                return Ok(assembly);
            }
            messages.changed().await.map_err(|_| closed())?;
        }
    }

    /// The digests of the module by the status messages; waits [`STATUS_GRACE`] for the first one.
    async fn published_digests(&self, pending: &Pending<'_>) -> Vec<Digest> {
        let mut messages = self.messages.clone();
        let published = async {
            loop {
                let digests = pending.digests();
                if !digests.is_empty() || messages.changed().await.is_err() {
                    return digests;
                }
            }
        };
        tokio::time::timeout(STATUS_GRACE, published).await.unwrap_or_default()
    }

    /// The number of chunks of a module so far, and of all.
    #[must_use]
    pub fn progress(&self, app_name: &str) -> (u64, u64) {
        lock(&self.receiver).assemblies.progress(app_name)
    }

    /// The outcomes of the messages so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.receiver).tally
    }

    /// The last [`MAX_SEEN`](super::MAX_SEEN) chunks in the order of their arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenChunk> {
        lock(&self.receiver).seen.iter().cloned().collect()
    }

    /// Disconnects.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
