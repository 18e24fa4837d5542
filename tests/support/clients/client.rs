//! A plain MQTT client: publishes anything, and keeps every message that it receives.

use std::{
    process::id,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishNotice, PublishOptions, QoS, SubscribeFilter,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time};

use crate::support::clients::daemon::DOMAIN;
use crate::support::servers::mosquitto::Mosquitto;

/// Everything on every channel.
pub const EVERYTHING: &str = "m/+/c/+/#";
/// Where devices are answered, in both layouts.
pub const ANSWERS: [&str; 2] = ["m/+/c/+/messages/registry/server", "m/+/c/+/registry/server"];
/// The status topics, in both layouts.
pub const STATUSES: [&str; 2] = ["m/+/c/+/messages/registry/status", "m/+/c/+/registry/status"];
/// Where proxies show that they are there, in both layouts.
pub const PRESENCES: [&str; 2] = ["m/+/c/+/messages/registry/proxy/+", "m/+/c/+/registry/proxy/+"];

/// Longest wait for a message.
const DEADLINE: Duration = Duration::from_secs(60);
/// Wait before a connection that was lost is made again.
const RETRY: Duration = Duration::from_millis(20);
const MAX_PACKET: usize = 10 << 20;
/// Messages on their way to the broker; older mosquittos lose some where there are more.
const WINDOW: u16 = 20;

/// Returns the request topic of `channel` in the plain layout.
pub fn request_topic(channel: &str) -> String {
    format!("m/{DOMAIN}/c/{channel}/registry/proplet")
}

/// Returns the payload of a request for a module.
pub fn request(app_name: &str) -> Bytes {
    json!({ "app_name": app_name }).to_string().into()
}

/// A message as it was received.
#[derive(Clone)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    /// Whether it had been retained before the client subscribed.
    pub retain: bool,
    /// What a chunk or a status is about; empty in other messages.
    pub app_name: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{} is not JSON: {error}", self.line()))
    }

    pub fn is_request(&self) -> bool {
        self.topic.ends_with("/registry/proplet")
    }

    pub fn is_chunk(&self) -> bool {
        self.topic.ends_with("/registry/server")
    }

    pub fn is_status(&self) -> bool {
        self.topic.ends_with("/registry/status")
    }

    pub fn is_presence(&self) -> bool {
        self.topic.contains("/registry/proxy/")
    }

    /// Returns the topic and the start of the payload.
    fn line(&self) -> String {
        let start = &self.payload[..self.payload.len().min(300)];
        format!("{} {}", self.topic, String::from_utf8_lossy(start))
    }
}

#[derive(Default)]
struct Heard {
    subscribed: bool,
    /// How often the client's own marker came back.
    markers: usize,
    messages: Vec<Message>,
}

/// A client with subscriptions at QoS 2, which it makes again after a loss of the broker.
pub struct Client {
    publisher: AsyncClient,
    marker: String,
    heard: watch::Receiver<Heard>,
    task: JoinSet<()>,
}

impl Client {
    /// Connects and subscribes.
    pub async fn listening(mosquitto: &Mosquitto, filters: &[&str]) -> Self {
        Self::listening_as(mosquitto, filters, None).await
    }

    /// Connects with a user name and a password, and subscribes.
    pub async fn listening_as(mosquitto: &Mosquitto, filters: &[&str], login: Option<(&str, &str)>) -> Self {
        static CLIENTS: AtomicU32 = AtomicU32::new(0);
        let id = format!("tests-{}-{}", id(), CLIENTS.fetch_add(1, Relaxed));
        let marker = format!("tests/{id}");
        let mut options = MqttOptions::new(id, ("127.0.0.1", mosquitto.port()));
        options.set_clean_session(true).set_inflight(WINDOW).set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some((username, password)) = login {
            options.set_credentials(username, password.to_owned());
        }
        let (publisher, event_loop) =
            AsyncClient::builder(options).capacity(WINDOW.into()).try_build().expect("an MQTT client");
        let (sender, heard) = watch::channel(Heard::default());
        let filters = filters.iter().map(|filter| (*filter).to_owned()).chain([marker.clone()]).collect();
        let mut task = JoinSet::new();
        task.spawn(
            Listener { client: publisher.clone(), filters, marker: marker.clone(), heard: sender }.run(event_loop),
        );
        let client = Self { publisher, marker, heard, task };
        client.waits("the answer to the subscription", |heard| heard.subscribed.then_some(())).await;
        client
    }

    /// Publishes at QoS 1 and returns when the broker has it.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) {
        self.publish_all(topic, [payload.into()]).await;
    }

    /// Publishes at QoS 1, as fast as the broker takes it, and returns when it has all.
    pub async fn publish_all(&self, topic: &str, payloads: impl IntoIterator<Item = Bytes>) {
        let mut notices = Vec::new();
        for payload in payloads {
            let options = PublishOptions::new(QoS::AtLeastOnce);
            notices.push(self.publisher.publish_tracked(topic, payload, options).await.expect("an open client"));
        }
        for outcome in join_all(notices.into_iter().map(PublishNotice::wait_async)).await {
            outcome.expect("the broker's acknowledgement");
        }
    }

    /// Publishes a retained message at QoS 1 and returns when the broker has it.
    pub async fn retain(&self, topic: &str, payload: impl Into<Bytes>) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(true);
        let notice = self.publisher.publish_tracked(topic, payload.into(), options).await.expect("an open client");
        notice.wait_async().await.expect("the broker's acknowledgement");
    }

    /// Requests modules on `channel`, in the plain layout.
    pub async fn request(&self, channel: &str, app_names: impl IntoIterator<Item = &str>) {
        self.publish_all(&request_topic(channel), app_names.into_iter().map(request)).await;
    }

    /// Returns when everything is received that the broker had before this call.
    pub async fn received_all(&self) {
        let before = self.heard.borrow().markers;
        let options = PublishOptions::new(QoS::ExactlyOnce);
        self.publisher.publish(&self.marker, "", options).await.expect("an open client");
        self.waits("its own message", |heard| (heard.markers > before).then_some(())).await;
    }

    /// Waits until `find` finds something in the messages received so far.
    pub async fn finds<T>(&self, what: &str, find: impl Fn(&[Message]) -> Option<T>) -> T {
        self.waits(what, |heard| find(&heard.messages)).await
    }

    async fn waits<T>(&self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> T {
        let mut heard = self.heard.clone();
        let found = async {
            loop {
                if let Some(found) = find(&heard.borrow_and_update()) {
                    return Some(found);
                }
                heard.changed().await.ok()?;
            }
        };
        let found = time::timeout(DEADLINE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("{what} was not heard, but\n{}", self.lines()))
    }

    /// Returns the messages received so far, the oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.heard.borrow().messages.clone()
    }

    /// Returns the chunks of an app that were received so far, repeated ones included.
    pub fn chunks(&self, app_name: &str) -> Vec<Message> {
        let heard = self.heard.borrow();
        heard.messages.iter().filter(|message| message.is_chunk() && message.app_name == app_name).cloned().collect()
    }

    /// Waits until so many chunks of an app were received, repeated ones included.
    pub async fn receives_chunks(&self, app_name: &str, count: usize) {
        let chunks = |messages: &[Message]| {
            messages.iter().filter(|message| message.is_chunk() && message.app_name == app_name).count()
        };
        self.finds(&format!("{count} chunks of {app_name}"), |messages| (chunks(messages) >= count).then_some(()))
            .await;
    }

    /// Returns the status messages of an app so far, the oldest first.
    pub fn statuses(&self, app_name: &str) -> Vec<Value> {
        statuses(&self.heard.borrow().messages, app_name).collect()
    }

    /// Waits until an app is in this state, and returns the status.
    pub async fn state(&self, app_name: &str, state: &str) -> Value {
        self.state_again(app_name, state, 1).await
    }

    /// Waits until an app was in this state so many times, and returns the last of these statuses.
    pub async fn state_again(&self, app_name: &str, state: &str, times: usize) -> Value {
        let what = format!("{app_name} {state}, {times} times,");
        self.finds(&what, |messages| {
            statuses(messages, app_name).filter(|status| status["state"] == state).nth(times - 1)
        })
        .await
    }

    /// Waits until the first request for an app was served or has failed, and returns the status.
    pub async fn outcome(&self, app_name: &str) -> Value {
        let over = |status: &Value| status["state"] == "sent" || status["state"] == "failed";
        self.finds(&format!("an end of {app_name}"), |messages| statuses(messages, app_name).find(over)).await
    }

    /// Returns every topic and payload that was received so far, a line each.
    pub fn text(&self) -> String {
        let heard = self.heard.borrow();
        let lines = heard.messages.iter().map(|Message { topic, payload, .. }| {
            let payload = String::from_utf8_lossy(payload);
            format!("{topic} {payload}\n")
        });
        lines.collect()
    }

    fn lines(&self) -> String {
        self.heard.borrow().messages.iter().map(|message| message.line() + "\n").collect()
    }

    /// Takes leave of the broker.
    pub async fn close(mut self) {
        self.publisher.disconnect().await.expect("an open client");
        let end = time::timeout(DEADLINE, self.task.join_next()).await;
        end.expect("the client ends in time");
    }
}

fn statuses(messages: &[Message], app_name: &str) -> impl Iterator<Item = Value> {
    messages.iter().filter(move |message| message.is_status() && message.app_name == app_name).map(Message::json)
}

/// Keeps the connection up and listens.
struct Listener {
    client: AsyncClient,
    filters: Vec<String>,
    marker: String,
    heard: watch::Sender<Heard>,
}

impl Listener {
    async fn run(self, mut event_loop: EventLoop) {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let filters =
                        self.filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::ExactlyOnce));
                    self.client.try_subscribe_many(filters).expect("room for the subscription");
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => self.heard.send_modify(|heard| heard.subscribed = true),
                Ok(Event::Incoming(Packet::Publish(publish))) => self.receive(&publish),
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(_) => time::sleep(RETRY).await,
            }
        }
    }

    fn receive(&self, publish: &rumqttc::Publish) {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if topic == self.marker {
            return self.heard.send_modify(|heard| heard.markers += 1);
        }
        let json = serde_json::from_slice::<Value>(&publish.payload).unwrap_or_default();
        let message = Message {
            topic,
            payload: publish.payload.clone(),
            qos: publish.qos as u8,
            retain: publish.retain,
            app_name: json["app_name"].as_str().unwrap_or_default().to_owned(),
        };
        self.heard.send_modify(|heard| heard.messages.push(message));
    }
}
