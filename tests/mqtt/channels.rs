//! One daemon for many channels: it answers each on its own topics and on no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use propeller_proxy::device::Tally;

use crate::support::clients::client::{Client, EVERYTHING, Message};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::daemon::{CHANNEL, DOMAIN};
use crate::support::clients::proplet::connect_on;
use crate::support::clients::task::Task;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::site::Site;
use crate::support::{Variable, wasm_of_size};

const ANY_CHANNEL: Variable<'_> = ("PROXY_CHANNEL_ID", "+");
const ANY_DOMAIN: Variable<'_> = ("PROXY_DOMAIN_ID", "+");

/// Requests modules of one size each on channels of its own, and sees them come there and nowhere else. None is
/// requested on the silent channels.
async fn assert_answered_on_the_topics_of_requests(
    variables: &[Variable<'_>],
    channels: &[(&str, &str)],
    silent: &[(&str, &str)],
) {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), variables).await;
    let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
    let mut bystanders = Vec::new();
    for channel in silent {
        bystanders.push(connect_on(site.mosquitto(), *channel, None).await);
    }
    let mut proplets = Vec::new();
    for channel in channels {
        proplets.push(connect_on(site.mosquitto(), *channel, None).await);
    }
    for (number, ((domain, channel), proplet)) in channels.iter().zip(&proplets).enumerate() {
        let name = format!("app-{number}");
        let module = wasm_of_size(1_200_000);
        registry.pusher().wasm(&name, "latest", module.clone()).await;
        assert!(proplet.request(&name).await.is_some_and(|served| served == module), "{name}\n{}", site.log());
        client.state(&name, "sent").await;
        let topics: BTreeSet<_> = messages_of(&client, &name).into_iter().map(|message| message.topic).collect();
        let expected = ["proplet", "server", "status"].map(|end| format!("m/{domain}/c/{channel}/registry/{end}"));
        assert_eq!(topics, expected.into(), "{}", site.log());
    }
    for proplet in proplets {
        assert_eq!(proplet.tally(), Tally { stored: 3, ..Tally::default() });
    }
    for bystander in bystanders {
        assert_eq!(bystander.tally(), Tally::default());
    }
}

fn messages_of(client: &Client, app_name: &str) -> Vec<Message> {
    client.messages().into_iter().filter(|message| message.app_name == app_name).collect()
}

#[tokio::test]
async fn every_channel_of_a_list_is_served() {
    let channels = [(DOMAIN, "a"), (DOMAIN, "b"), (DOMAIN, "c")];
    assert_answered_on_the_topics_of_requests(
        &[("PROXY_CHANNEL_ID", "a,b,c")],
        &channels,
        &[(DOMAIN, CHANNEL), ("other", "a")],
    )
    .await;
}

#[tokio::test]
async fn every_channel_of_a_domain_is_served() {
    let channels = [(DOMAIN, CHANNEL), (DOMAIN, "5a9f2b"), (DOMAIN, "ü b")];
    assert_answered_on_the_topics_of_requests(&[ANY_CHANNEL], &channels, &[("other", CHANNEL)]).await;
}

#[tokio::test]
async fn a_channel_is_served_in_every_domain() {
    let channels = [(DOMAIN, CHANNEL), ("other", CHANNEL)];
    assert_answered_on_the_topics_of_requests(&[ANY_DOMAIN], &channels, &[(DOMAIN, "other")]).await;
}

#[tokio::test]
async fn every_channel_of_every_domain_is_served() {
    let channels = [(DOMAIN, CHANNEL), ("other", "one")];
    assert_answered_on_the_topics_of_requests(&[ANY_DOMAIN, ANY_CHANNEL], &channels, &[]).await;
}

/// Requests on channels that are not served, or on a topic that only looks like a channel's, get no answer.
#[tokio::test]
async fn other_channels_get_no_messages() {
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
    let site = Site::start(registry.host(), &[("PROXY_CHANNEL_ID", "a,b")]).await;
    let client = Client::listening(site.mosquitto(), &["#"]).await;
    for topic in
        ["m/domain/c/channel/registry/proplet", "m/other/c/a/registry/proplet", "m/domain/c/a/b/registry/proplet"]
    {
        client.publish(topic, r#"{"app_name": "elsewhere"}"#).await;
    }
    client.request("b", ["add"]).await;
    client.state("add", "sent").await;
    let elsewhere = messages_of(&client, "elsewhere");
    assert!(elsewhere.iter().all(|message| message.topic.ends_with("/registry/proplet")), "{}", site.log());
    assert!(!site.log().contains("elsewhere"), "{}", site.log());
}

/// A proxy is present on each channel that is listed, in both layouts; on those that nobody listed, nobody knows.
#[tokio::test]
async fn presence_is_published_on_every_listed_channel() {
    let of_channel = |channel| {
        [format!("m/domain/c/{channel}/messages/registry/proxy/p"), format!("m/domain/c/{channel}/registry/proxy/p")]
    };
    for (variables, channels) in [
        (&[("PROXY_CHANNEL_ID", "a,b")][..], &["a", "b"][..]),
        (&[ANY_CHANNEL], &[]),
        (&[ANY_DOMAIN], &[]),
        (&[ANY_DOMAIN, ANY_CHANNEL], &[]),
    ] {
        let registry = DockerRegistry::start().await;
        registry.pusher().wasm("add", "latest", wasm_of_size(100)).await;
        let site = Site::start(registry.host(), &[variables, &[("PROXY_INSTANCE_ID", "p")]].concat()).await;
        let client = Client::listening(site.mosquitto(), &[EVERYTHING]).await;
        // It publishes its presence before it serves.
        let channel = channels.first().copied().unwrap_or(CHANNEL);
        client.request(channel, ["add"]).await;
        client.state("add", "sent").await;
        client.received_all().await;
        let present: BTreeSet<_> =
            client.messages().into_iter().filter(Message::is_presence).map(|message| message.topic).collect();
        assert_eq!(present, channels.iter().flat_map(of_channel).collect(), "{variables:?}\n{}", site.log());
    }
}

/// A broker that lets the proxy see some channels only makes those the ones that are served.
#[tokio::test]
async fn channels_that_the_broker_denies_are_not_served() {
    let users = [("proxy", "proxy-key"), ("device", "device-key")];
    let acl = "user proxy\ntopic readwrite m/domain/c/seen/#\nuser device\ntopic readwrite #\n";
    let mosquitto = Mosquitto::with(Options { users: &users, acl: Some(acl), ..Options::default() }).await;
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let login = [("PROXY_CLIENT_ID", "proxy"), ("PROXY_CLIENT_KEY", "proxy-key")];
    let variables = [&[ANY_DOMAIN, ANY_CHANNEL][..], &login].concat();
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &variables).await;
    let device = Some(("device", "device-key"));
    let client = Client::listening_as(&mosquitto, &[EVERYTHING], device).await;
    for channel in [(DOMAIN, "unseen"), ("unseen", "seen")] {
        connect_on(&mosquitto, channel, device).await.publish_request("unseen").await;
    }
    let proplet = connect_on(&mosquitto, (DOMAIN, "seen"), device).await;
    assert!(proplet.request("add").await.is_some_and(|served| served == module), "{}", daemon.log());
    client.state("add", "sent").await;
    assert_eq!(client.chunks("add").len(), 3);
    assert!(!daemon.log().contains("\"unseen\""), "{}", daemon.log());
    assert!(client.messages().iter().all(|told| told.topic.contains("/seen/") || told.topic.ends_with("/proplet")));
}

/// The same app on two channels at once is fetched once, and is two transfers.
#[tokio::test]
async fn one_app_on_two_channels_is_sent_on_both() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(3_000_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    // Slow enough that one transfer begins during the other.
    let site = Site::behind_relay(registry.host(), 4_000_000, &[("PROXY_CHANNEL_ID", "a,b")]).await;
    let mut proplets = Vec::new();
    for channel in ["a", "b"] {
        proplets.push(Arc::new(connect_on(site.mosquitto(), (DOMAIN, channel), None).await));
    }
    let mut tasks: Vec<_> = proplets.iter().map(|proplet| Task::start(proplet, "add")).collect();
    for task in &mut tasks {
        let served = task.module().await.map(Bytes::from);
        assert!(served.is_some_and(|served| served == module), "{}", site.log());
    }
    site.daemon().nth_event("delivered", 2).await;
    for proplet in proplets {
        assert_eq!(proplet.tally(), Tally { stored: 6, ..Tally::default() }, "{}", site.log());
    }
    assert_eq!(site.events("fetching").len(), 1, "{}", site.log());
    assert!(site.events("joined").is_empty(), "{}", site.log());
}
