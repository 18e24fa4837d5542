//! The status topic, with the states of each request, and the presence of the proxy.

use std::process::Command;

use bytes::Bytes;
use propeller_proxy::embedded::sample;
use propeller_proxy::mqtt::topic::Layout;
use serde_json::{Value, json};

use crate::support::clients::client::{Client, EVERYTHING, Message, PRESENCES, STATUSES, request};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::log::failures_with;
use crate::support::clients::proplet::connect_at;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::servers::site::Site;
use crate::support::{Variable, wasm_of_size};

const INSTANCE_ID: &str = "proxy-1";
const INSTANCE: Variable<'_> = ("PROXY_INSTANCE_ID", INSTANCE_ID);
/// Each layout with what its topics begin with.
const LAYOUTS: [(Layout, &str); 2] =
    [(Layout::Messages, "m/domain/c/channel/messages/registry/"), (Layout::Plain, "m/domain/c/channel/registry/")];

/// Returns the time as the proxy writes it, a second ago: its clock goes on evenly, and the system's may be adjusted.
fn a_second_ago() -> String {
    time_at("-1 second")
}

fn time_at(date: &str) -> String {
    let output = Command::new("date").args(["--utc", "--date", date, "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output();
    String::from_utf8(output.expect("run date").stdout).expect("a time in ASCII").trim().to_owned()
}

/// The time has the form of `begin`, and lies between that and now, or a second after.
fn assert_recent(time: &Value, begin: &str) {
    let time = time.as_str().expect("a time");
    let alike = |(one, other): (u8, u8)| one == other || (one.is_ascii_digit() && other.is_ascii_digit());
    assert!(time.len() == begin.len() && time.bytes().zip(begin.bytes()).all(alike), "{time} is not like {begin}");
    assert!((begin..=time_at("+1 second").as_str()).contains(&time), "{time} was not after {begin}");
}

/// Returns the milliseconds from one status to the next; a transfer may last over midnight.
fn milliseconds_between(one: &Value, next: &Value) -> i32 {
    let of_day = |status: &Value| {
        let time = status["time"].as_str().expect("a time");
        let part = |range: std::ops::Range<usize>| time[range].parse::<i32>().expect("a number in the time");
        ((part(11..13) * 60 + part(14..16)) * 60 + part(17..19)) * 1000 + part(20..23)
    };
    (of_day(next) - of_day(one)).rem_euclid(24 * 60 * 60 * 1000)
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// The status has the fields that it should have, and the common ones have the right values.
fn assert_status(status: &Value, app_name: &str, begin: &str) {
    let fields = [
        "app_name",
        "chunk_size",
        "digest",
        "error",
        "instance",
        "sent_chunks",
        "size",
        "state",
        "time",
        "total_chunks",
    ];
    assert_eq!(names(status), fields);
    assert_eq!((&status["app_name"], &status["instance"]), (&json!(app_name), &json!(INSTANCE_ID)), "{status}");
    assert_recent(&status["time"], begin);
}

/// Returns the states in their order, each once.
fn states(statuses: &[Value]) -> Vec<&str> {
    let mut states: Vec<_> = statuses.iter().map(|status| status["state"].as_str().expect("a state")).collect();
    states.dedup();
    states
}

/// These fields have these values.
fn assert_has(status: &Value, fields: &Value) {
    for (name, value) in fields.as_object().expect("an object") {
        assert_eq!(&status[name], value, "{name} of {status}");
    }
}

#[tokio::test]
async fn a_delivery_is_published_from_queued_to_sent_in_the_layout_of_the_request() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[INSTANCE]).await;
    let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
    for (seed, (layout, topics)) in (0..).zip(LAYOUTS) {
        let app_name = ["messages", "plain"][usize::from(layout == Layout::Plain)];
        let module = sample::noise(1_200_000, seed);
        let pushed = registry.pusher().wasm(app_name, "latest", module.clone().into()).await;
        let begin = a_second_ago();
        let proplet = connect_at(site.mosquitto(), layout, 2).await;
        assert!(proplet.request(app_name).await.is_some_and(|assembled| assembled == module), "{}", site.log());
        client.state(app_name, "sent").await;

        let statuses = client.statuses(app_name);
        for status in &statuses {
            assert_status(status, app_name, &begin);
            assert_eq!(status["error"], Value::Null, "{status}");
        }
        assert_eq!(states(&statuses), ["queued", "fetching", "sending", "sent"]);
        let unknown = json!({ "digest": null, "size": null, "chunk_size": null, "total_chunks": null });
        assert_has(&statuses[0], &unknown);
        assert_has(&statuses[0], &json!({ "sent_chunks": 0 }));
        let known = json!({ "digest": pushed.module, "size": 1_200_000, "chunk_size": 512_000, "total_chunks": 3 });
        let first = |state: &str| statuses.iter().find(|status| status["state"] == state).expect("a status");
        for (state, sent_chunks) in [("sending", 0), ("sent", 3)] {
            assert_has(first(state), &known);
            assert_has(first(state), &json!({ "sent_chunks": sent_chunks }));
        }

        let told: Vec<_> = client.messages().into_iter().filter(Message::is_status).collect();
        for message in told.iter().filter(|message| message.app_name == app_name) {
            assert_eq!((message.topic.as_str(), message.qos), (&*format!("{topics}status"), 1));
        }
    }
}

/// What is in the store is not fetched, and each request has status messages of its own.
#[tokio::test]
async fn every_delivery_has_its_status_messages() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::start(registry.host(), &[]).await;
    let client = Client::listening(site.mosquitto(), &STATUSES).await;
    for times in 1..=3 {
        let before = client.statuses("add").len();
        site.delivers("add", &module).await;
        client.state_again("add", "sent", times).await;
        let statuses = client.statuses("add").split_off(before);
        let states = states(&statuses);
        assert!(states.starts_with(&["queued"]) && states.ends_with(&["sending", "sent"]), "{states:?}");
    }
    // No status is kept for those who come later.
    let late = Client::listening(site.mosquitto(), &STATUSES).await;
    late.received_all().await;
    assert_eq!(late.text(), "");
}

#[tokio::test]
async fn progress_is_published_about_once_a_second() {
    /// What the proxy's clock and a second may differ by, milliseconds.
    const TOLERANCE: i32 = 100;
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(3_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let site = Site::behind_relay(registry.host(), 1_000_000, &[("PROXY_CHUNK_SIZE", "50000")]).await;
    let client = Client::listening(site.mosquitto(), &STATUSES).await;
    site.delivers("add", &module).await;
    client.state("add", "sent").await;
    let statuses = client.statuses("add");
    let sending: Vec<_> = statuses.iter().filter(|status| status["state"] == "sending").collect();
    let sent: Vec<_> = sending.iter().map(|status| status["sent_chunks"].as_u64().expect("a number")).collect();
    assert!(sent.is_sorted() && sent[0] == 0 && sent.iter().all(|sent| *sent <= 60), "{sent:?}");
    assert!(sent.iter().any(|sent| (1..60).contains(sent)), "nothing was told in the middle: {sent:?}");
    for pair in sending.windows(2) {
        let between = milliseconds_between(pair[0], pair[1]);
        assert!(between >= 1000 - TOLERANCE, "{} came {between} ms after {}", pair[1], pair[0]);
    }
}

/// Each row: the request, whose failure that is, its code, and what the message names.
#[tokio::test]
async fn a_failure_is_published_once_with_code_and_message() {
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let text = registry.pusher().wasm("text", "latest", "no module".into()).await;
    let site = Site::start(registry.host(), &[INSTANCE]).await;
    let rows = [
        (request("nothing:1.0"), "nothing:1.0", "unknown-image", "nothing:1.0"),
        (request("NOT A NAME"), "NOT A NAME", "bad-reference", "NOT A NAME"),
        (request("other.example/add:1.0"), "other.example/add:1.0", "denied", "other.example"),
        (request("text"), "text", "not-wasm", &text.module),
        ("no JSON".into(), "", "bad-request", "request"),
        (r#"{"app_name": ["add"]}"#.into(), "", "bad-request", "app_name"),
    ];
    for (layout, topics) in LAYOUTS {
        let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
        let begin = a_second_ago();
        let topic = format!("{topics}proplet");
        client.publish_all(&topic, rows.iter().map(|(payload, ..)| payload.clone())).await;
        for (_, app_name, code, named) in &rows {
            let failure = client
                .finds(code, |messages| {
                    let told = messages.iter().filter(|told| told.is_status() && told.app_name == *app_name);
                    let says = |status: &Value| status["error"]["message"].to_string().contains(named);
                    told.map(Message::json).find(|status| status["state"] == "failed" && says(status))
                })
                .await;
            assert_status(&failure, app_name, &begin);
            assert_has(&failure, &json!({ "sent_chunks": 0 }));
            assert_eq!(names(&failure["error"]), ["code", "message"]);
            assert_eq!(failure["error"]["code"], *code);
            let is_it = |entry: &Value| entry["message"] == failure["error"]["message"];
            let is_logged = |log: &str| failures_with(log, code).iter().any(is_it).then_some(());
            site.daemon().finds("the same failure", is_logged).await;
        }
        // After the failures, there is time for one that would come twice.
        client.publish(&topic, request("add")).await;
        client.state("add", "sent").await;
        for (_, app_name, code, _) in &rows {
            let times = rows.iter().filter(|(_, other, ..)| other == app_name).count();
            let failures = client.statuses(app_name);
            let failures = failures.iter().filter(|status| status["state"] == "failed");
            assert_eq!(failures.count(), times, "{layout:?}, {code}");
            assert_eq!(client.chunks(app_name).len(), 0, "{layout:?}, {code}");
        }
        let told: Vec<_> = client.messages().into_iter().filter(Message::is_status).collect();
        assert!(told.iter().all(|message| message.topic == format!("{topics}status")), "{layout:?}");
    }
}

/// Returns the presence of the instance on both layouts, or less if nothing is retained there.
async fn presence(mosquitto: &Mosquitto) -> Vec<(String, Value)> {
    let late = Client::listening(mosquitto, &PRESENCES).await;
    late.received_all().await;
    let mut presence: Vec<_> = late
        .messages()
        .into_iter()
        .filter(|message| message.retain)
        .map(|told| (told.topic.clone(), told.json()))
        .collect();
    presence.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    presence
}

/// Waits until the instance's presence is online or not, on so many topics, after the first `skip` messages.
async fn becomes(client: &Client, online: bool, topics: usize, skip: usize) {
    let what = format!("online: {online}");
    client
        .finds(&what, |messages| {
            let told = messages.iter().skip(skip).filter(|told| told.is_presence() && told.json()["online"] == online);
            (told.count() >= topics).then_some(())
        })
        .await;
}

#[tokio::test]
async fn presence_is_retained_and_cleared_when_the_proxy_ends() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let client = Client::listening(&mosquitto, &PRESENCES).await;
    let topics = LAYOUTS.map(|(_, topics)| format!("{topics}proxy/{INSTANCE_ID}"));
    for signal in ["KILL", "TERM"] {
        let (begin, told) = (a_second_ago(), client.messages().len());
        let mut daemon = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE]).await;
        becomes(&client, true, 2, told).await;
        let online = presence(&mosquitto).await;
        assert_eq!(online.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), topics.iter().collect::<Vec<_>>());
        for (_, presence) in &online {
            assert_eq!(names(presence), ["online", "since", "version"]);
            assert_has(presence, &json!({ "online": true, "version": env!("CARGO_PKG_VERSION") }));
            assert_recent(&presence["since"], &begin);
        }

        let told = client.messages().len();
        daemon.signal(signal).await;
        daemon.ended().await;
        // A last will has one topic.
        becomes(&client, false, if signal == "KILL" { 1 } else { 2 }, told).await;
        let offline = presence(&mosquitto).await.into_iter().filter(|(_, presence)| presence["online"] == false);
        assert!(offline.count() >= if signal == "KILL" { 1 } else { 2 }, "after {signal}");
    }
    let qos: Vec<_> = client.messages().iter().map(|told| told.qos).collect();
    assert!(qos.iter().all(|qos| *qos == 1), "{qos:?}");
}

/// Whoever may publish there could make replicas and operators believe that the proxy is gone.
#[tokio::test]
async fn presence_that_another_client_forges_is_corrected() {
    const FLOOD: usize = 2000;
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let client = Client::listening(&mosquitto, &PRESENCES).await;
    let group = ("PROXY_SHARE_GROUP", "replicas");
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE, group]).await;
    becomes(&client, true, 2, 0).await;
    let genuine = presence(&mosquitto).await;
    let offline = json!({ "online": false, "version": "0", "since": "", "group": "replicas" }).to_string();
    let deserter = json!({ "online": true, "version": "0", "since": "", "group": "others" }).to_string();
    for forged in [offline, deserter, "{".into(), String::new()] {
        for (topic, _) in &genuine {
            let told = client.messages().len();
            client.retain(topic, forged.clone()).await;
            client
                .finds(&format!("the answer to {forged} on {topic}"), |messages| {
                    let last = messages.last().filter(|last| messages.len() > told + 1 && last.topic == *topic)?;
                    (last.payload != forged).then_some(())
                })
                .await;
            assert_eq!(presence(&mosquitto).await, genuine, "{forged:?}");
        }
    }
    daemon.event("presence-corrected").await;

    // A flood is answered once a second on each topic, and nobody else's presence at all.
    let told = client.messages().len();
    let foreign = genuine[0].0.replace(INSTANCE_ID, "another");
    client.retain(&foreign, "{").await;
    client.publish_all(&genuine[0].0, vec![Bytes::from_static(b"{}"); FLOOD]).await;
    let answers =
        |messages: &[Message]| messages.iter().skip(told).filter(|message| message.payload.starts_with(b"{\"")).count();
    client.finds("an answer to the flood", |messages| (answers(messages) > 0).then_some(())).await;
    client.received_all().await;
    let answers = answers(&client.messages());
    assert!((1..FLOOD / 20).contains(&answers), "{answers}");
    assert!(client.messages().iter().skip(told).filter(|message| message.topic == foreign).count() == 1);
}
