//! Drives the library's event loop: connects, subscribes, receives, and reconnects.

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Packet, Publish, StateError, SubscribeFilter};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::address::BrokerAddress;
use super::backlog::Backlog;
use super::backoff::Retries;
use super::message::{Ack, Message};
use super::options::{BrokerOptions, ConnectionOptions, qos};
use super::publisher::Health;
use super::refusal;
use super::socket::{self, setup};
use super::topic::{Channel, Role};
use crate::error::Error;
use crate::util::clock::{Clock, Time};

/// How long a connection may bring no packet before it counts as stalled: by then a ping or a publish should have been
/// acknowledged.
#[doc(alias = "bound")]
const SILENCE_LIMIT: Duration = Duration::from_secs(16);
/// How long this process, or the system, may stand still before a connection is made anew: what it was about to publish may be
/// out of date.
#[doc(alias = "bound")]
const GAP_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const PULSE: Duration = Duration::from_secs(1);
/// Wait after a refusal, whose reason does not go away within milliseconds.
const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// How long packets in flight may take when the connection is closed, and how long disconnecting may take after that.
#[doc(alias = "bound")]
const CLOSE_TIMEOUT: Duration = Duration::from_millis(750);

/// How long a connection that is closed may still take to be accepted.
#[doc(alias = "bound")]
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(250);

/// Owns the state of a connection between packets.
pub(super) struct Driver<F> {
    address: BrokerAddress,
    /// How long connecting may take.
    timeout: Duration,
    options: ConnectionOptions,
    client: AsyncClient,
    health: watch::Sender<Health>,
    /// When the connection was lost, if it was up before and is not now.
    down_since: Option<Instant>,
    /// Replaced when the connection ends, which invalidates every [`Ack`] so far.
    connection: Arc<()>,
    backlog: Backlog,
    retries: Retries,
    on_message: F,
}

/// Why a connection ends.
enum End {
    Failed(ConnectionError),
    Refused(Error),
    /// The broker does not respond, as this connection or another one to it noticed.
    Stalled,
    /// This process stood still.
    StoodStill,
}

impl<F: FnMut(Message<'_>)> Driver<F> {
    pub(super) fn new(
        mqtt: &BrokerOptions,
        options: ConnectionOptions,
        client: AsyncClient,
        health: watch::Sender<Health>,
        on_message: F,
    ) -> Self {
        Self {
            address: mqtt.address.clone(),
            timeout: mqtt.timeout,
            retries: Retries::new(options.backoff),
            options,
            client,
            health,
            down_since: None,
            connection: Arc::default(),
            backlog: Backlog::default(),
            on_message,
        }
    }

    /// Connects again and again until `stop`, a refusal of the first connection, or any failure with
    /// [`Backoff::NONE`](super::Backoff::NONE).
    pub(super) async fn run(mut self, mut event_loop: EventLoop, stop: CancellationToken) -> Result<(), Error> {
        loop {
            event_loop.set_network_options(socket::connecting(self.timeout));
            let Some(end) = self.connect(&mut event_loop, &stop).await else {
                self.disconnect(event_loop).await;
                return Ok(());
            };
            let delay = self.delay_after(end, &mut event_loop)?;
            self.connection = Arc::default();
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

    /// Connects and handles packets until the connection ends; `None` on `stop`.
    async fn connect(&mut self, event_loop: &mut EventLoop, stop: &CancellationToken) -> Option<End> {
        let mut last_packet_at = Instant::now();
        let (clock, mut pulse) = (Clock::from(Time::default()), interval(PULSE));
        let mut awake_at = clock.now();
        loop {
            // The timeout bounds connecting; after it, silence is a stall if the keep-alive is shorter than the limit.
            let is_up = self.health.borrow().is_up;
            let is_watched = is_up && self.options.keep_alive < SILENCE_LIMIT;
            let deadline = last_packet_at + SILENCE_LIMIT;
            // Looks at the clock each time that this task is woken, before anything is written.
            let stands_still = poll_fn(|context| {
                while pulse.poll_tick(context).is_ready() {}
                let gap = clock.now().since(mem::replace(&mut awake_at, clock.now()));
                if gap < GAP_LIMIT { Poll::Pending } else { Poll::Ready(()) }
            });
            // Dropping the future of `poll` may cut a write, so it is dropped only when the connection ends.
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = stands_still => return Some(End::StoodStill),
                event = event_loop.poll() => event,
                () = tokio::time::sleep_until(deadline.into()), if is_watched => return Some(End::Stalled),
                () = self.options.stalled.notified(), if is_up && !is_watched => return Some(End::Stalled),
            };
            match event {
                Ok(Event::Outgoing(_)) => {}
                Ok(Event::Incoming(packet)) => {
                    last_packet_at = Instant::now();
                    if let Some(end) = self.handle(packet, event_loop) {
                        return Some(end);
                    }
                }
                Err(error) => {
                    // Messages that were read before the connection ended: the broker does not send them again in a
                    // clean session.
                    let read: Vec<_> = event_loop.state.events.drain(..).collect();
                    for event in read {
                        if let Event::Incoming(Packet::Publish(publish)) = event {
                            self.receive(publish);
                        }
                    }
                    return Some(refusal::of(&self.address, &error).map_or(End::Failed(error), End::Refused));
                }
            }
        }
    }

    fn handle(&mut self, packet: Packet, event_loop: &mut EventLoop) -> Option<End> {
        match packet {
            Packet::ConnAck(connack) => {
                event_loop.set_network_options(socket::connected());
                debug!(broker = %self.address, session_present = connack.session_present, "connected");
                self.backlog = Backlog::of(connack.session_present);
                if self.options.subscriptions.is_empty() {
                    self.come_up();
                    return None;
                }
                self.subscribe().err().map(End::Refused)
            }
            Packet::SubAck(suback) => {
                let subscriptions = &self.options.subscriptions;
                if let Err(refused) = refusal::of_subscriptions(&self.address, subscriptions, &suback.return_codes) {
                    return Some(End::Refused(refused));
                }
                if !self.health.borrow().is_up {
                    self.come_up();
                }
                self.backlog.end_round_trip();
                if self.backlog.is_pending() { self.subscribe().err().map(End::Refused) } else { None }
            }
            Packet::Publish(publish) => {
                self.receive(publish);
                None
            }
            _ => None,
        }
    }

    fn receive(&mut self, publish: Publish) {
        let has_ack = self.options.has_manual_acks;
        let ack = if has_ack { Ack::of(&self.client, &publish, &self.connection) } else { Ack::default() };
        let (is_retained, is_queued) = (publish.retain, self.backlog.is_pending());
        let topic = std::str::from_utf8(&publish.topic).ok();
        // Every subscription brings the retained messages again, so they say nothing of the backlog.
        if !is_retained {
            let role = topic.and_then(Channel::of_topic).map(|(_, _, role)| role);
            self.backlog.receive(role == Some(Role::Request));
        }
        match topic {
            Some(topic) => {
                (self.on_message)(Message { topic, payload: publish.payload, is_retained, is_queued, ack });
            }
            None => ack.acknowledge(),
        }
    }

    fn subscribe(&self) -> Result<(), Error> {
        let subscriptions = self.options.subscriptions.iter();
        let filters =
            subscriptions.map(|subscription| SubscribeFilter::new(subscription.filter.clone(), qos(subscription.qos)));
        self.client.try_subscribe_many(filters).map_err(|error| setup(&error))
    }

    /// Reports that the connection is up.
    fn come_up(&mut self) {
        let topics: Vec<_> = self.options.subscriptions.iter().map(|subscription| &subscription.filter).collect();
        if self.options.is_logged {
            info!(event = "subscribed", broker = %self.address, ?topics, "subscribed");
        } else {
            debug!(broker = %self.address, ?topics, "ready");
        }
        self.retries.succeed();
        let down_time = self.down_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.health.send_modify(|health| {
            *health = Health { is_up: true, connections: health.connections + 1, down_time };
        });
    }

    /// Prepares the next connection; returns the wait before it.
    ///
    /// # Errors
    /// Why there is to be none.
    fn delay_after(&mut self, end: End, event_loop: &mut EventLoop) -> Result<Duration, Error> {
        match end {
            End::Failed(error) if self.retries.are_off() => Err(Error::no_broker(&self.address, &error)),
            End::Failed(error) => {
                if matches!(error, ConnectionError::MqttState(StateError::AwaitPingResp)) {
                    self.options.stalled.notify_waiters();
                }
                Ok(self.retries.fail(&self.address, &error))
            }
            // A configuration that never worked is an error; one that worked may work again.
            End::Refused(refused) if self.health.borrow().connections == 0 => Err(refused),
            End::Refused(refused) => {
                event_loop.clean();
                error!(code = refused.code(), hint = refused.hint(), "{refused}");
                Ok(REFUSED_DELAY)
            }
            End::StoodStill => {
                event_loop.clean();
                Ok(self.retries.fail(&self.address, &"this process stood still"))
            }
            End::Stalled => {
                event_loop.clean();
                self.options.stalled.notify_waiters();
                let error = format!("no packet came for {} s", SILENCE_LIMIT.as_secs());
                Ok(self.retries.fail(&self.address, &error))
            }
        }
    }

    async fn disconnect(self, mut event_loop: EventLoop) {
        if !self.health.borrow().is_up {
            // One that the broker has accepted, or is about to, is not left without a DISCONNECT: it would publish the will.
            let accepted = async {
                while !matches!(event_loop.poll().await?, Event::Incoming(_)) {}
                Ok::<_, ConnectionError>(())
            };
            if !matches!(tokio::time::timeout(ACCEPT_TIMEOUT, accepted).await, Ok(Ok(()))) {
                return;
            }
        }
        if self.client.try_disconnect_with_timeout(CLOSE_TIMEOUT).is_ok() {
            let closed = async { while event_loop.poll().await.is_ok() {} };
            // The library bounds the packets in flight, but not a write that stalls.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT * 2, closed).await;
        }
    }
}
