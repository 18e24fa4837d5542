//! A connection to the broker that reconnects by itself.

use rumqttc::AsyncClient;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::driver::Driver;
use super::message::Message;
use super::options::{BrokerOptions, ConnectionOptions, qos};
use super::publisher::{Health, Publisher};
use super::socket::{self, setup};
use crate::error::Error;

/// A connection to the broker. It subscribes, and does both again, with a backoff, whenever it is lost.
///
/// The library's event loop runs in a task of its own, which ends with the connection.
#[derive(Debug)]
pub struct Connection {
    publisher: Publisher,
    stop: DropGuard,
    task: JoinHandle<Result<(), Error>>,
}

impl Connection {
    /// Starts connecting. `on_message` receives each message; it runs between packets and must not block.
    ///
    /// # Errors
    /// [`Error::Setup`] if the options or TLS cannot be used.
    pub fn open(
        mqtt: &BrokerOptions,
        options: ConnectionOptions,
        on_message: impl FnMut(Message<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        // Of the connections of one proxy, one has required subscriptions: it warns for all.
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
        let driver = Driver::new(mqtt, options, client.clone(), health, on_message);
        let task = tokio::spawn(driver.run(event_loop, stop.clone()));
        Ok(Self { publisher: Publisher::new(client, qos, health_receiver), stop: stop.drop_guard(), task })
    }

    /// As [`Connection::open`], and returns when the connection is up.
    ///
    /// # Errors
    /// [`Error::BrokerUnreachable`] if it is not within the timeout of connecting, or at the first failure with
    /// [`Backoff::NONE`](super::Backoff::NONE); [`Error::BrokerRefused`], [`Error::BrokerUntrusted`], [`Error::Setup`].
    pub async fn establish(
        mqtt: &BrokerOptions,
        options: ConnectionOptions,
        on_message: impl FnMut(Message<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        let mut connection = Self::open(mqtt, options, on_message)?;
        let mut health = connection.health();
        let up = async {
            tokio::select! {
                end = connection.ended() => end,
                // Fails when the connection has ended, which gives the reason.
                Ok(_) = health.wait_for(|health| health.is_up) => Ok(()),
            }
        };
        let up = tokio::time::timeout(mqtt.timeout, up).await;
        up.unwrap_or_else(|_| Err(Error::no_broker_within(&mqtt.address, mqtt.timeout)))?;
        Ok(connection)
    }

    /// What publishes over this connection.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Its state, now and on each change.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.publisher.health()
    }

    /// Waits for its end. Before [`Connection::close`] it ends only if the broker refuses it before it was ever up, or
    /// at the first failure with [`Backoff::NONE`](super::Backoff::NONE).
    ///
    /// # Errors
    /// [`Error::BrokerRefused`], [`Error::BrokerUnreachable`].
    pub async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.task).await.unwrap_or_else(|panic| Err(setup(&panic)))
    }

    /// Disconnects after what is in flight, within about a second.
    pub async fn close(self) {
        drop(self.stop);
        if let Err(error) = self.task.await.unwrap_or_else(|panic| Err(setup(&panic))) {
            warn!(%error, "the connection to the broker did not close cleanly");
        }
    }
}
