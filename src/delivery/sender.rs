//! The sender: reads and encodes chunks, publishes them, and awaits their acknowledgements.
//!
//! One chunk is read and encoded at a time, off the async threads, so chunks are published in the order of their turns. At
//! most [`MAX_IN_FLIGHT_MESSAGES`] messages, and about as many bytes as configured, wait for their acknowledgement: half as
//! many after a connection was lost with some, so that a link that breaks often carries whole messages and their
//! acknowledgements in between; and more again with each acknowledgement.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::buffers::Buffers;
use super::plan::ChunkPlan;
use super::rules::schedule::Turn;
use crate::error::Error;
use crate::mqtt::chunk::Encoder;
use crate::mqtt::topic::{App, Role};
use crate::mqtt::{Acknowledgement, MAX_IN_FLIGHT_MESSAGES, Publisher};
use crate::oci::blob::Blob;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What it takes to publish any chunk of one transfer.
#[derive(Debug)]
pub struct Outgoing {
    topic: String,
    blob: Blob,
    plan: ChunkPlan,
    encoder: Encoder,
}

impl Outgoing {
    /// The chunks of `blob`, for the devices that requested `app`.
    pub fn new(app: &App, blob: Blob, plan: ChunkPlan) -> Self {
        let encoder = Encoder::new(&app.name, plan.total_chunks());
        Self { topic: app.topic(Role::Answer), blob, plan, encoder }
    }

    /// Reads and encodes one chunk, off the async threads.
    async fn message(self: &Arc<Self>, index: u64, buffers: &Buffers) -> Result<Bytes, Error> {
        let outgoing = Arc::clone(self);
        let (mut data, mut message) = (buffers.borrow(), buffers.borrow());
        let encoded = tokio::task::spawn_blocking(move || {
            let (offset, length) = outgoing.plan.chunk(index);
            data.bytes.resize(length as usize, 0);
            outgoing.blob.read_at(&mut data.bytes, offset)?;
            outgoing.encoder.encode(index, &data.bytes, &mut message.bytes);
            Ok(message.freeze())
        });
        encoded.await.map_err(io::Error::other).flatten().map_err(|source| self.blob.unreadable(source))
    }
}

/// What became of a chunk.
#[derive(Debug)]
pub enum Sent {
    /// It was handed to the connection.
    Published {
        turn: Turn,
        /// The size of its message, bytes.
        size: usize,
    },
    /// The broker acknowledged it.
    Acknowledged {
        turn: Turn,
        size: usize,
        /// The time since it was handed to the connection.
        time: Duration,
    },
    /// The connection ended before that.
    Lost(Turn),
    /// It cannot be read.
    Unreadable(Turn, Error),
    /// The connection is closed for good.
    Closed,
}

/// Publishes chunks over one connection.
pub struct Sender {
    publisher: Publisher,
    max_in_flight: usize,
    /// Bytes that may be in flight now.
    window: usize,
    /// Whether a message in flight was lost since none was in flight.
    has_lost: bool,
    buffers: Buffers,
    /// The chunk that is being read, encoded and handed to the connection.
    current: Option<Boxed<Result<Published, (Turn, Error)>>>,
    in_flight: FuturesUnordered<Boxed<(usize, Sent)>>,
    in_flight_bytes: usize,
}

/// A chunk that was handed to the connection.
struct Published {
    turn: Turn,
    size: usize,
    acknowledgement: Boxed<Acknowledgement>,
}

impl Sender {
    /// A sender over the connection of `publisher`, which has no further message in flight above `max_in_flight` bytes.
    pub fn new(publisher: Publisher, max_in_flight: usize) -> Self {
        let (buffers, in_flight) = (Buffers::default(), FuturesUnordered::new());
        Self {
            publisher,
            max_in_flight,
            window: max_in_flight,
            has_lost: false,
            buffers,
            current: None,
            in_flight,
            in_flight_bytes: 0,
        }
    }

    /// Whether it takes another chunk now: the connection is up, and there is room.
    pub fn is_ready(&self) -> bool {
        self.current.is_none()
            && self.in_flight.len() < usize::from(MAX_IN_FLIGHT_MESSAGES)
            && self.in_flight_bytes < self.window
            && self.publisher.is_up()
    }

    /// The bytes of messages that wait for their acknowledgement.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Takes the chunk of `turn`. It is to be ready.
    pub fn send(&mut self, turn: Turn, outgoing: Arc<Outgoing>) {
        let (publisher, buffers) = (self.publisher.clone(), self.buffers.clone());
        self.current = Some(Box::pin(async move {
            let message = outgoing.message(turn.index, &buffers).await.map_err(|error| (turn, error))?;
            let size = message.len();
            let acknowledgement = Box::pin(publisher.publish(&outgoing.topic, message).await);
            Ok(Published { turn, size, acknowledgement })
        }));
    }

    /// Waits until something became of a chunk. May be dropped and called again.
    pub async fn next(&mut self) -> Sent {
        let current = &mut self.current;
        let published = async {
            match current {
                Some(current) => poll_fn(|context| current.as_mut().poll(context)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((size, sent)) = self.in_flight.next() => {
                self.in_flight_bytes -= size;
                self.adapt(&sent, size);
                sent
            }
            published = published => {
                self.current = None;
                match published {
                    Ok(published) => self.published(published),
                    Err((turn, error)) => Sent::Unreadable(turn, error),
                }
            }
        }
    }

    /// Adapts the window to what became of a message in flight.
    fn adapt(&mut self, sent: &Sent, size: usize) {
        match sent {
            Sent::Acknowledged { .. } => self.window = self.window.saturating_add(size).min(self.max_in_flight),
            Sent::Lost(_) => self.has_lost = true,
            _ => {}
        }
        if self.in_flight.is_empty() && std::mem::take(&mut self.has_lost) {
            self.window = (self.window / 2).max(1);
        }
    }

    fn published(&mut self, Published { turn, size, acknowledgement }: Published) -> Sent {
        self.in_flight_bytes += size;
        let begun = Instant::now();
        self.in_flight.push(Box::pin(async move {
            let sent = match acknowledgement.await {
                Acknowledgement::Received => Sent::Acknowledged { turn, size, time: begun.elapsed() },
                Acknowledgement::Lost => Sent::Lost(turn),
                Acknowledgement::Closed => Sent::Closed,
            };
            (size, sent)
        }));
        Sent::Published { turn, size }
    }
}
