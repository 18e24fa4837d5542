//! The service: takes requests from the channel and delivers modules.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::blob::Digest;
use crate::chunk::ChunkPlan;
use crate::config::Config;
use crate::delivery::MAX_TRANSFERS;
use crate::delivery::courier::{Courier, Sent};
use crate::delivery::schedule::{Admission, TransferId, TransferKey};
use crate::error::Error;
use crate::link::{Link, LinkOptions};
use crate::policy::Policy;
use crate::pull::Puller;
use crate::reference::Reference;
use crate::request::Request;
use crate::topic::Layout;
use crate::{wasm, wire};

/// Requests that may wait between the link and the service.
const REQUEST_QUEUE: usize = 1024;
/// Largest packet that devices may send us, bytes: more than the brokers that have a limit let through.
const MAX_INCOMING_PACKET: usize = 4 << 20;
/// Bytes around the payload of a packet: topic and header.
const PACKET_OVERHEAD: usize = 64 << 10;
/// How long open deliveries may go on when the service is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A proxy for one channel.
#[derive(Debug)]
pub struct Service {
    config: Config,
    policy: Policy,
    puller: Puller,
    courier: Courier,
    ready: watch::Sender<bool>,
}

/// A module that reached the broker for every device that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The SHA-256 of the module.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it took.
    pub sent: Sent,
}

impl Service {
    /// A service that is not connected yet.
    ///
    /// # Errors
    /// [`Error::Setup`] if the HTTP client cannot be made, [`Error::Disk`] if the store cannot be opened.
    pub fn new(config: Config) -> Result<Arc<Self>, Error> {
        let policy = Policy::new(&config.registry);
        Ok(Arc::new(Self {
            puller: Puller::new(&config, policy.clone())?,
            policy,
            courier: Courier::default(),
            ready: watch::Sender::new(false),
            config,
        }))
    }

    /// Tells whether the service is subscribed to its requests, now and on each change.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The path of a module, from a device's request to the broker's acknowledgement of its last chunk.
    async fn deliver(&self, id: TransferId, key: TransferKey) -> Result<Delivered, Error> {
        let reference = Reference::parse(&key.app_name, &self.config.registry.url)?;
        self.policy.permit(&reference)?;

        let blob = self.puller.pull(&reference).await?;
        wasm::check(&blob)?;

        let plan = ChunkPlan::new(blob.size(), self.config.chunk_size);
        let (digest, size) = (blob.digest(), blob.size());
        info!(app_name = &*key.app_name, %digest, size, total_chunks = plan.total_chunks(), "verified");
        let sent = self.courier.send(id, key, blob, plan).await?;
        Ok(Delivered { digest, size, sent })
    }

    /// Serves requests until `stop`; then finishes what it can within two seconds and disconnects.
    ///
    /// # Errors
    /// [`Error::BrokerRefused`] if the broker refuses the first connection or subscription. An absent broker is waited
    /// for.
    pub async fn run(self: &Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let (arrived, mut requests) = mpsc::channel(REQUEST_QUEUE);
        let mut link = self.open_link(arrived)?;
        let mut subscribed = link.subscribed();

        let publisher = link.publisher();
        let mut courier = pin!(self.courier.run(&publisher));
        let mut deliveries = JoinSet::new();
        let halt = CancellationToken::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                end = link.ended() => return end,
                () = &mut courier => return link.ended().await,
                Ok(()) = subscribed.changed() => drop(self.ready.send_replace(*subscribed.borrow_and_update())),
                Some(key) = requests.recv() => if let Some(id) = self.admit(&key) {
                    deliveries.spawn(Arc::clone(self).carry_out(id, key, halt.clone()));
                },
                Some(_) = deliveries.join_next() => {}
            }
        }
        info!(open_transfers = deliveries.len(), "stopping");
        tokio::select! {
            () = courier => {}
            () = finished(&mut deliveries) => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
        }
        halt.cancel();
        finished(&mut deliveries).await;
        link.close().await;
        self.ready.send_replace(false);
        Ok(())
    }

    /// Opens the link that takes requests and carries chunks.
    fn open_link(&self, arrived: mpsc::Sender<TransferKey>) -> Result<Link, Error> {
        let Config { channel, instance_id, mqtt, chunk_size, .. } = &self.config;
        let options = LinkOptions {
            client_id: instance_id.clone(),
            subscriptions: Layout::ALL.map(|layout| channel.request_topic(layout)).to_vec(),
            max_incoming: MAX_INCOMING_PACKET,
            max_outgoing: wire::max_message_size(chunk_size.get()) + PACKET_OVERHEAD,
        };
        let channel = channel.clone();
        Link::open(mqtt, options, move |topic: &str, payload: Bytes| {
            let Some(layout) = channel.layout_of_request(topic) else { return };
            let outcome = Request::parse(&payload).and_then(|Request { app_name }| {
                let key =
                    TransferKey { topic: channel.answer_topic(layout).into(), app_name: app_name.as_str().into() };
                arrived.try_send(key).map_err(|_| Error::Overloaded { app_name, limit: REQUEST_QUEUE })
            });
            if let Err(error) = outcome {
                report(&error, topic);
            }
        })
    }

    /// Opens a transfer for a request, unless it joins one or there are too many.
    fn admit(&self, key: &TransferKey) -> Option<TransferId> {
        let (app_name, topic) = (&*key.app_name, &*key.topic);
        match self.courier.request(key) {
            Admission::Opened(id) => {
                info!(app_name, topic, "requested");
                Some(id)
            }
            Admission::Joined { requests } => {
                info!(app_name, topic, requests, "joined");
                None
            }
            Admission::Full => {
                report(&Error::Overloaded { app_name: app_name.into(), limit: MAX_TRANSFERS }, topic);
                None
            }
        }
    }

    /// Delivers until `halt`, and tells how it went.
    async fn carry_out(self: Arc<Self>, id: TransferId, key: TransferKey, halt: CancellationToken) {
        let (begin, app_name, topic) = (Instant::now(), Arc::clone(&key.app_name), Arc::clone(&key.topic));
        let open = Open { courier: &self.courier, id };
        let result = tokio::select! {
            result = self.deliver(id, key) => result,
            () = halt.cancelled() => Err(Error::Stopping { app_name: app_name.to_string() }),
        };
        // Before the report: who asks after it must not join what has failed.
        drop(open);
        match result {
            Ok(Delivered { digest, size, sent: Sent { requests, total_chunks, sent_chunks } }) => {
                let seconds = begin.elapsed().as_secs_f64();
                info!(app_name = &*app_name, %digest, size, total_chunks, sent_chunks, requests, seconds, "delivered");
            }
            Err(error) => report(&error, &topic),
        }
    }
}

/// An open transfer, given up when its delivery ends, in whatever way: nothing may join it then.
struct Open<'a> {
    courier: &'a Courier,
    id: TransferId,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.courier.abandon(self.id);
    }
}

async fn finished(deliveries: &mut JoinSet<()>) {
    while deliveries.join_next().await.is_some() {}
}

/// Logs a failure with everything that a reader needs.
fn report(error: &Error, topic: &str) {
    error!(
        code = error.code(),
        stage = %error.stage(),
        side = %error.side(),
        retryable = error.retryable(),
        topic,
        hint = error.hint(),
        "{error}"
    );
}
