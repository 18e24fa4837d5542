//! The link to the MQTT broker: the only module that knows the MQTT library.
//!
//! A link connects, subscribes, and does so again whenever the connection is lost, sooner than devices do. What is
//! published over it ends in an [`Acknowledgement`] that comes from the broker, not from a queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS,
    SubAck, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::{BrokerAddress, MqttConfig};
use crate::delivery::MAX_IN_FLIGHT_MESSAGES;
use crate::error::Error;

/// How often the broker hears from us at least.
const KEEP_ALIVE_SECONDS: u16 = 30;
/// Wait before the first attempt to reconnect.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(10);
/// Wait between attempts to reconnect: short, because the proxy must be back before the devices are (1 s and more).
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(150);
/// Wait after a refusal, which does not go away by itself within milliseconds.
const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// How long a connection lasts that ends an outage.
const STABLE_TIME: Duration = Duration::from_secs(5);
/// How often a broker that stays away is mentioned in the log.
const REMINDER_INTERVAL: Duration = Duration::from_secs(10);
/// How long unfinished packets may take when the link is closed, and how long leaving may take then.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(750);

/// What a link is made for.
#[derive(Debug)]
pub struct LinkOptions {
    /// MQTT client identifier.
    pub client_id: String,
    /// Topics to be subscribed to.
    pub subscriptions: Vec<String>,
    /// Largest packet that is received, bytes. A larger one ends the connection, and the link makes a new one.
    pub max_incoming: usize,
    /// Largest packet that is sent, bytes.
    pub max_outgoing: usize,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The broker has it (QoS 0: it is written).
    Received,
    /// The connection ended before that; it has to be published again.
    Lost,
    /// The link is closed.
    LinkClosed,
}

/// Publishes over a link; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: AsyncClient,
    qos: QoS,
    subscribed: watch::Receiver<bool>,
}

impl Publisher {
    /// Waits until the link is up. What is published before would stand in the way of its subscription.
    pub async fn ready(&self) {
        // The other end is gone when the link is closed, which publishing tells.
        let _ = self.subscribed.clone().wait_for(|subscribed| *subscribed).await;
    }

    /// Queues `payload` on `topic`, not retained, and returns the wait for its acknowledgement.
    ///
    /// Waits itself only while [`MAX_IN_FLIGHT_MESSAGES`] are queued.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> impl Future<Output = Acknowledgement> + Send + 'static {
        let queued = self.client.publish_tracked(topic, payload, PublishOptions::new(self.qos)).await;
        async move {
            let Ok(notice) = queued else { return Acknowledgement::LinkClosed };
            match notice.wait_async().await {
                Ok(_) => Acknowledgement::Received,
                Err(rumqttc::PublishNoticeError::Recv) => Acknowledgement::LinkClosed,
                Err(_) => Acknowledgement::Lost,
            }
        }
    }
}

/// A connection to the broker that keeps itself up.
#[derive(Debug)]
pub struct Link {
    publisher: Publisher,
    subscribed: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Link {
    /// Starts connecting. `on_message` gets the topic and payload of what arrives, but for retained messages; it runs
    /// between packets and must not wait for anything.
    ///
    /// # Errors
    /// [`Error::Setup`] if the options or TLS cannot be used.
    pub fn open(
        mqtt: &MqttConfig,
        options: LinkOptions,
        on_message: impl FnMut(&str, Bytes) + Send + 'static,
    ) -> Result<Self, Error> {
        let qos = match mqtt.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let (client, event_loop) = AsyncClient::builder(mqtt_options(mqtt, &options)?)
            .capacity(MAX_IN_FLIGHT_MESSAGES.into())
            .try_build()
            .map_err(|error| setup(&error))?;
        let (subscribed_sender, subscribed) = watch::channel(false);
        let stop = CancellationToken::new();
        let driver = Driver {
            address: mqtt.address.clone(),
            client: client.clone(),
            qos,
            subscriptions: options.subscriptions,
            subscribed: subscribed_sender,
            was_subscribed: false,
            outage: Outage::default(),
            on_message,
        };
        let mut network = rumqttc::NetworkOptions::new();
        network
            .set_connection_timeout(mqtt.timeout.as_secs().saturating_add(u64::from(mqtt.timeout.subsec_nanos() > 0)))
            .set_tcp_nodelay(true);
        let task = tokio::spawn(driver.run(event_loop, network, stop.clone()));
        Ok(Self { publisher: Publisher { client, qos, subscribed: subscribed.clone() }, subscribed, stop, task })
    }

    /// What publishes over this link.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Tells whether the link is connected and subscribed, now and on each change.
    #[must_use]
    pub fn subscribed(&self) -> watch::Receiver<bool> {
        self.subscribed.clone()
    }

    /// Waits for the end of the link, which before [`Link::close`] comes only if the broker refuses it at first.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`].
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

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn setup(error: &impl ToString) -> Error {
    Error::Setup { object: "MQTT client".into(), detail: error.to_string() }
}

fn mqtt_options(mqtt: &MqttConfig, options: &LinkOptions) -> Result<MqttOptions, Error> {
    let BrokerAddress { host, port, tls } = &mqtt.address;
    let mut mqtt_options = MqttOptions::new(options.client_id.clone(), (host.clone(), *port));
    mqtt_options
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_clean_session(true)
        .set_inflight(MAX_IN_FLIGHT_MESSAGES)
        .set_max_packet_size(options.max_incoming, options.max_outgoing);
    if let Some(login) = &mqtt.login {
        mqtt_options
            .set_credentials(login.username.clone(), secrecy::ExposeSecret::expose_secret(&login.password).to_owned());
    }
    if *tls {
        let config = crate::tls::client_config(crate::tls::roots(&[])?, &[], None)?;
        mqtt_options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
    }
    Ok(mqtt_options)
}

/// Drives the connection.
struct Driver<F> {
    address: BrokerAddress,
    client: AsyncClient,
    qos: QoS,
    subscriptions: Vec<String>,
    subscribed: watch::Sender<bool>,
    was_subscribed: bool,
    outage: Outage,
    on_message: F,
}

/// How long the broker has been away, or how lately it was.
#[derive(Debug, Default)]
struct Outage {
    attempts: u32,
    mentioned: Option<Instant>,
    /// When the broker took us back; if it lets us go again soon, that is the same outage.
    ended: Option<Instant>,
}

impl<F: FnMut(&str, Bytes)> Driver<F> {
    async fn run(
        mut self,
        mut event_loop: EventLoop,
        network: rumqttc::NetworkOptions,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        event_loop.set_network_options(network);
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return self.disconnect(event_loop).await,
                event = event_loop.poll() => event,
            };
            let delay = match event {
                Ok(Event::Outgoing(_)) => continue,
                Ok(Event::Incoming(packet)) => match self.incoming(packet) {
                    Ok(()) => continue,
                    Err(refusal) => {
                        // Ends the connection, which is of no use without the subscription.
                        event_loop.clean();
                        self.refused(refusal)?
                    }
                },
                Err(error) => {
                    // What was read before the end of the connection would be lost with the session.
                    let read: Vec<_> = event_loop.state.events.drain(..).collect();
                    for event in read {
                        self.take_message(event);
                    }
                    match self.refusal(&error) {
                        Some(refusal) => self.refused(refusal)?,
                        None => self.outage.begin_or_continue(&self.address, &error),
                    }
                }
            };
            self.subscribed.send_replace(false);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Hands on what was received.
    fn take_message(&mut self, event: Event) {
        // A retained message is what somebody asked at some time, not a request now (MQTT 3.1.1, section 3.3.1.3).
        if let Event::Incoming(Packet::Publish(publish)) = event
            && !publish.retain
            && let Ok(topic) = std::str::from_utf8(&publish.topic)
        {
            (self.on_message)(topic, publish.payload);
        }
    }

    /// A refusal ends a link that was never up; one that was tries again after the delay that is returned.
    fn refused(&self, refusal: Error) -> Result<Duration, Error> {
        if !self.was_subscribed {
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
            Packet::ConnAck(_) => {
                debug!(broker = %self.address, "connected");
                let filters = self.subscriptions.iter().map(|topic| SubscribeFilter::new(topic.clone(), self.qos));
                // Its lane is empty: nothing but this goes there, and a new connection starts without leftovers.
                self.client.try_subscribe_many(filters).map_err(|error| setup(&error))
            }
            Packet::SubAck(SubAck { return_codes, .. }) => {
                let refused: Vec<_> = self
                    .subscriptions
                    .iter()
                    .zip(&return_codes)
                    .filter(|(_, code)| **code == SubscribeReasonCode::Failure)
                    .map(|(topic, _)| topic.as_str())
                    .collect();
                if !refused.is_empty() {
                    let detail = format!("no permission to subscribe to {}", refused.join(" and "));
                    return Err(Error::BrokerRefused { object: self.address.to_string(), detail });
                }
                info!(broker = %self.address, topics = ?self.subscriptions, "subscribed");
                self.outage.end();
                self.was_subscribed = true;
                self.subscribed.send_replace(true);
                Ok(())
            }
            packet => {
                self.take_message(Event::Incoming(packet));
                Ok(())
            }
        }
    }

    /// A refusal that waiting does not mend.
    fn refusal(&self, error: &ConnectionError) -> Option<Error> {
        let ConnectionError::ConnectionRefused(code) = error else { return None };
        let detail = match code {
            ConnectReturnCode::RefusedProtocolVersion => "MQTT 3.1.1 is not accepted (return code 1)",
            ConnectReturnCode::BadClientId => "the client identifier is not accepted (return code 2)",
            ConnectReturnCode::BadUserNamePassword => "bad user name or password (return code 4)",
            ConnectReturnCode::NotAuthorized => "not authorized (return code 5)",
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => return None,
        };
        Some(Error::BrokerRefused { object: self.address.to_string(), detail: detail.into() })
    }

    async fn disconnect(self, mut event_loop: EventLoop) -> Result<(), Error> {
        if *self.subscribed.borrow() && self.client.try_disconnect_with_timeout(CLOSE_TIMEOUT).is_ok() {
            let until_closed = async { while event_loop.poll().await.is_ok() {} };
            // The library bounds the drain, but not a write that hangs.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT * 2, until_closed).await;
        }
        Ok(())
    }
}

impl Outage {
    /// Logs an outage when it begins and now and then; returns the wait before the next attempt.
    fn begin_or_continue(&mut self, address: &BrokerAddress, error: &ConnectionError) -> Duration {
        if self.ended.take().is_some_and(|ended| ended.elapsed() >= STABLE_TIME) {
            *self = Self::default();
        }
        let attempts = self.attempts;
        if self.mentioned.is_none_or(|mentioned| mentioned.elapsed() >= REMINDER_INTERVAL) {
            self.mentioned = Some(Instant::now());
            warn!(broker = %address, %error, attempts, "no connection to the broker; trying again");
        }
        self.attempts += 1;
        MAX_RECONNECT_DELAY.min(MIN_RECONNECT_DELAY * 2_u32.saturating_pow(attempts.min(8)))
    }

    fn end(&mut self) {
        self.ended = Some(Instant::now());
    }
}
