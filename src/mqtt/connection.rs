//! Links to the MQTT broker: the only module that knows the MQTT library.
//!
//! A link connects, subscribes, and does so again whenever the connection is lost, sooner than devices do. What is
//! published over it ends in an [`Acknowledgement`] that comes from the broker, not from a queue; what arrives is
//! acknowledged when its [`Ack`] says so. `net` is the connection below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Packet, StateError, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::ack::{Ack, Pending};
use super::backoff::Outage;
use super::options::qos;
use super::publisher::Publisher;
use super::{Backoff, BrokerAddress, BrokerOptions, ConnectionOptions, Session, Subscription, refusal, socket};
use crate::error::Error;

/// A broker of which nothing was heard for so long hangs: by then it should have answered a ping, or acknowledged
/// something.
const SILENCE_LIMIT: Duration = Duration::from_secs(16);
/// Wait after a refusal, which does not go away by itself within milliseconds.
const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// How long unfinished packets may take when the link is closed, and how long leaving may take then.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(750);
/// Round trips to the broker, after a session was resumed, in which it may deliver what it kept.
const MAX_SETTLING_ROUNDS: u32 = 100;

/// A message as it arrives.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: Bytes,
    /// Whether it was published before the subscription and kept as the topic's last (MQTT 3.1.1, section 3.3.1.3).
    pub is_retained: bool,
    /// Whether it may have been published while the link was down, and was kept for the session.
    pub was_kept: bool,
    /// What acknowledges it.
    pub receipt: Ack,
}

/// How a link is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it is connected and subscribed.
    pub is_up: bool,
    /// How often it came up.
    pub connections: u64,
    /// How long it was down before that.
    pub outage: Duration,
}

/// A connection to the broker that keeps itself up.
#[derive(Debug)]
pub struct Connection {
    publisher: Publisher,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Connection {
    /// Starts connecting. `on_message` gets what arrives; it runs between packets and must not wait for anything.
    ///
    /// # Errors
    /// [`Error::Setup`] if the options or TLS cannot be used.
    pub fn open(
        mqtt: &BrokerOptions,
        options: ConnectionOptions,
        on_message: impl FnMut(Message<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        // Who uses several links has one that listens; that one warns for all.
        if options.subscriptions.iter().any(|subscription| subscription.is_required) {
            socket::warn_of_tls(mqtt);
        }
        let qos = qos(options.qos);
        let (client, event_loop) = AsyncClient::builder(socket::mqtt_options(mqtt, &options)?)
            .capacity(options.queue)
            .try_build()
            .map_err(|error| setup(&error))?;
        let (health, health_receiver) = watch::channel(Health::default());
        let stop = CancellationToken::new();
        let driver = Driver {
            address: mqtt.address.clone(),
            client: client.clone(),
            options,
            health,
            down_since: None,
            connection: Arc::default(),
            kept: Kept::default(),
            outage: Outage::default(),
            on_message,
        };
        let task = tokio::spawn(driver.run(event_loop, mqtt.timeout, stop.clone()));
        Ok(Self { publisher: Publisher { client, qos, health: health_receiver }, stop, task })
    }

    /// What publishes over this link.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Tells how the link is doing, now and on each change.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.publisher.health.clone()
    }

    /// Waits for the end of the link, which before [`Connection::close`] comes only if the broker refuses it at first, or at the
    /// first failure with [`Backoff::NONE`].
    ///
    /// # Errors
    /// [`Error::BrokerRefused`], [`Error::BrokerUnreachable`].
    pub async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.task).await.unwrap_or_else(|panic| Err(setup(&panic)))
    }

    /// Disconnects after what is in flight, within about a second.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Err(error) = self.ended().await {
            warn!(%error, "the link to the broker did not close cleanly");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn setup(error: &impl ToString) -> Error {
    Error::Setup { object: "MQTT client".into(), detail: error.to_string() }
}

/// Drives the connection.
struct Driver<F> {
    address: BrokerAddress,
    client: AsyncClient,
    options: ConnectionOptions,
    health: watch::Sender<Health>,
    /// Since when the link is down that was up.
    down_since: Option<Instant>,
    /// Counts the connections, so that no acknowledgement goes to the wrong one.
    connection: Arc<AtomicU64>,
    kept: Kept,
    outage: Outage,
    on_message: F,
}

/// Whether the broker still delivers what it kept while the link was down: it does until a round trip passes without.
#[derive(Debug, Default)]
struct Kept {
    is_settling: bool,
    arrived: bool,
    rounds: u32,
}

/// Why a connection ends.
enum Break {
    Failed(ConnectionError),
    Refused(Error),
    /// It was made to discard a session, which it has.
    Discarded,
    /// The broker hangs, as this link or another one found.
    Silent,
}

impl<F: FnMut(Message<'_>)> Driver<F> {
    async fn run(mut self, mut event_loop: EventLoop, timeout: Duration, stop: CancellationToken) -> Result<(), Error> {
        event_loop.set_network_options(socket::connecting(timeout));
        loop {
            let mut heard = Instant::now();
            let reason = loop {
                // A connection has to come about within the timeout; once it is there, its silence counts.
                let is_up = self.health.borrow().is_up;
                let deadline = heard + SILENCE_LIMIT;
                let is_watched = is_up && self.options.keep_alive < SILENCE_LIMIT;
                // Polling is given up only for good: it may be writing.
                let event = tokio::select! {
                    biased;
                    () = stop.cancelled() => return self.disconnect(event_loop).await,
                    event = event_loop.poll() => event,
                    () = tokio::time::sleep_until(deadline.into()), if is_watched => break Break::Silent,
                    () = self.options.broker_hangs.notified(), if is_up && !is_watched => break Break::Silent,
                };
                match event {
                    Ok(Event::Outgoing(_)) => {}
                    Ok(Event::Incoming(packet)) => {
                        heard = Instant::now();
                        if let Packet::ConnAck(_) = packet {
                            event_loop.set_network_options(socket::connected());
                            if event_loop.mqtt_options.clean_session() && self.options.session == Session::Kept {
                                break Break::Discarded;
                            }
                        }
                        if let Err(refusal) = self.incoming(packet) {
                            break Break::Refused(refusal);
                        }
                    }
                    Err(error) => {
                        // What was read before the end of the connection would be lost with the session.
                        let read: Vec<_> = event_loop.state.events.drain(..).collect();
                        for event in read {
                            self.take_message(event);
                        }
                        break refusal::of(&self.address, &error).map_or(Break::Failed(error), Break::Refused);
                    }
                }
            };
            let delay = match reason {
                Break::Failed(error) if self.options.retries == Backoff::NONE => {
                    return Err(Error::no_broker(&self.address, &error));
                }
                Break::Failed(error) => {
                    self.discard_session_after(&error, &mut event_loop);
                    if matches!(error, ConnectionError::MqttState(StateError::AwaitPingResp)) {
                        self.options.broker_hangs.notify_waiters();
                    }
                    self.outage.begin_or_continue(&self.address, &self.options.retries, &error)
                }
                Break::Discarded => {
                    event_loop.clean();
                    event_loop.mqtt_options.set_clean_session(false);
                    Duration::ZERO
                }
                Break::Refused(refusal) => {
                    event_loop.clean();
                    self.refused(refusal)?
                }
                Break::Silent => {
                    event_loop.clean();
                    self.options.broker_hangs.notify_waiters();
                    let error = format!("nothing was heard for {} s", SILENCE_LIMIT.as_secs());
                    self.outage.begin_or_continue(&self.address, &self.options.retries, &error)
                }
            };
            event_loop.set_network_options(socket::connecting(timeout));
            self.connection.fetch_add(1, Ordering::AcqRel);
            if self.health.borrow().is_up {
                self.down_since = Some(Instant::now());
                self.health.send_modify(|health| health.is_up = false);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// A packet that is too large to be read would come again and again in a kept session: that is made anew, with the loss
    /// of what else waits in it.
    fn discard_session_after(&self, error: &ConnectionError, event_loop: &mut EventLoop) {
        let is_too_large = matches!(
            error,
            ConnectionError::MqttState(StateError::Deserialization(MqttError::PayloadSizeLimitExceeded(_)))
        );
        if is_too_large && self.options.session == Session::Kept {
            warn!(broker = %self.address, limit = self.options.max_incoming, "too large a message: what else waits at the broker is lost with it");
            event_loop.mqtt_options.set_clean_session(true);
        }
    }

    /// Hands on what was received.
    fn take_message(&mut self, event: Event) {
        let Event::Incoming(Packet::Publish(publish)) = event else { return };
        let acknowledgement = self.client.prepare_ack(&publish).filter(|_| self.options.by_receipt);
        let receipt = Ack(acknowledgement.map(|acknowledgement| Pending {
            client: self.client.clone(),
            acknowledgement,
            connection: self.connection.load(Ordering::Acquire),
            current: Arc::clone(&self.connection),
        }));
        // What is retained comes again with each subscription.
        self.kept.arrived |= !publish.retain;
        let (is_retained, was_kept) = (publish.retain, self.kept.is_settling);
        match std::str::from_utf8(&publish.topic) {
            Ok(topic) => {
                (self.on_message)(Message { topic, payload: publish.payload, is_retained, was_kept, receipt });
            }
            Err(_) => receipt.confirm(),
        }
    }

    /// A refusal ends a link that was never up; one that was tries again after the delay that is returned.
    fn refused(&self, refusal: Error) -> Result<Duration, Error> {
        if self.health.borrow().connections == 0 {
            return Err(refusal);
        }
        error!(code = refusal.code(), hint = refusal.hint(), "{refusal}");
        Ok(REFUSED_DELAY)
    }

    /// Handles one packet.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`] if the broker does not let us subscribe.
    fn incoming(&mut self, packet: Packet) -> Result<(), Error> {
        match packet {
            Packet::ConnAck(connack) => {
                debug!(broker = %self.address, session_present = connack.session_present, "connected");
                self.kept = Kept { is_settling: connack.session_present, ..Kept::default() };
                if self.options.subscriptions.is_empty() {
                    self.up();
                    return Ok(());
                }
                self.subscribe()
            }
            Packet::SubAck(SubAck { return_codes, .. }) => {
                let is_refused = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Failure;
                let answers = self.options.subscriptions.iter().zip(&return_codes);
                let (required, others): (Vec<_>, Vec<_>) = answers
                    .filter(|(_, code)| is_refused(code))
                    .map(|(subscription, _)| subscription)
                    .partition(|subscription| subscription.is_required);
                let list = |refused: &[&Subscription]| {
                    refused.iter().map(|subscription| &*subscription.filter).collect::<Vec<_>>().join(" and ")
                };
                if !required.is_empty() {
                    let detail = format!("no permission to subscribe to {}", list(&required));
                    return Err(Error::BrokerRefused { object: self.address.to_string(), detail });
                }
                if !others.is_empty() {
                    warn!(broker = %self.address, "no permission to subscribe to {}", list(&others));
                }
                if !self.health.borrow().is_up {
                    self.up();
                }
                self.kept.rounds += 1;
                self.kept.is_settling &= self.kept.arrived && self.kept.rounds < MAX_SETTLING_ROUNDS;
                if self.kept.is_settling {
                    self.kept.arrived = false;
                    return self.subscribe();
                }
                Ok(())
            }
            packet => {
                self.take_message(Event::Incoming(packet));
                Ok(())
            }
        }
    }

    fn subscribe(&self) -> Result<(), Error> {
        let subscriptions = self.options.subscriptions.iter();
        let filters =
            subscriptions.map(|subscription| SubscribeFilter::new(subscription.filter.clone(), qos(subscription.qos)));
        self.client.try_subscribe_many(filters).map_err(|error| setup(&error))
    }

    /// The link is connected and subscribed.
    fn up(&mut self) {
        let topics: Vec<_> = self.options.subscriptions.iter().map(|subscription| &subscription.filter).collect();
        if self.options.is_talkative {
            info!(event = "subscribed", broker = %self.address, ?topics, "subscribed");
        } else {
            debug!(broker = %self.address, ?topics, "ready");
        }
        self.outage.end();
        let outage = self.down_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.health.send_modify(|health| {
            *health = Health { is_up: true, connections: health.connections + 1, outage };
        });
    }

    async fn disconnect(self, mut event_loop: EventLoop) -> Result<(), Error> {
        if self.health.borrow().is_up && self.client.try_disconnect_with_timeout(CLOSE_TIMEOUT).is_ok() {
            let until_closed = async { while event_loop.poll().await.is_ok() {} };
            // The library bounds the drain, but not a write that hangs.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT * 2, until_closed).await;
        }
        Ok(())
    }
}
