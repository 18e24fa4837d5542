//! Client identifiers: nobody can take them over, and none is left behind that nobody will use again.

use std::collections::BTreeSet;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet};

use crate::support::Variable;
use crate::support::clients::client::{Client, EVERYTHING, PRESENCES};
use crate::support::clients::daemon::{CHANNEL, Daemon};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;
use crate::support::wasm_of_size;

const INSTANCE: Variable<'_> = ("PROXY_INSTANCE_ID", "proxy-1");
const EXACT: Variable<'_> = ("PROXY_EXACT_CLIENT_ID", "true");

/// The identifiers of the proxies that have connected so far, by the broker's log.
fn identifiers(mosquitto: &Mosquitto) -> BTreeSet<String> {
    let log = mosquitto.log();
    let connected = log.lines().filter_map(|line| line.split_once("New client connected from "));
    let identifiers = connected.filter_map(|(_, rest)| rest.split_once(" as ")?.1.split(' ').next());
    identifiers.filter(|identifier| !identifier.starts_with("tests-")).map(str::to_owned).collect()
}

/// Connects with this identifier, and returns whether the broker has a session of it.
async fn has_session(mosquitto: &Mosquitto, identifier: &str) -> bool {
    let mut options = MqttOptions::new(identifier, ("127.0.0.1", mosquitto.port()));
    options.set_clean_session(false);
    let (_client, mut event_loop) = AsyncClient::builder(options).capacity(1).try_build().expect("an MQTT client");
    loop {
        if let Event::Incoming(Packet::ConnAck(connack)) = event_loop.poll().await.expect("a connection") {
            return connack.session_present;
        }
    }
}

#[tokio::test]
async fn whoever_connects_with_what_is_published_disconnects_no_proxy() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    registry.pusher().wasm("add", "latest", wasm_of_size(1000)).await;
    let client = Client::listening(&mosquitto, &[EVERYTHING]).await;
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE]).await;
    for guess in ["proxy-1", "proxy-1-chunks"] {
        assert!(!has_session(&mosquitto, guess).await, "{guess} is the proxy's");
    }
    client.request(CHANNEL, ["add"]).await;
    client.state("add", "sent").await;
    assert_eq!(daemon.events("subscribed").len(), 1, "{}", daemon.log());

    let own = identifiers(&mosquitto).into_iter().filter(|identifier| identifier.starts_with("proxy-1-"));
    let secrets: BTreeSet<_> = own
        .filter(|identifier| identifier != "proxy-1-chunks")
        .map(|identifier| identifier.trim_start_matches("proxy-1-").trim_end_matches("-chunks").to_owned())
        .collect();
    let [secret] = &secrets.iter().collect::<Vec<_>>()[..] else { panic!("{secrets:?}") };
    assert_eq!(secret.len(), 32);
    for said in [client.text(), daemon.log()] {
        assert!(!said.contains(secret.as_str()), "{said}");
    }
}

#[tokio::test]
async fn a_second_proxy_of_one_name_is_told() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let mut first = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE]).await;
    first.signal("TERM").await;
    first.ended().await;
    let daemon = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE]).await;
    // What the first one left is no second one.
    assert!(daemon.events("instance-id-shared").is_empty(), "{}", daemon.log());
    let _second = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE]).await;
    daemon.event("instance-id-shared").await;
}

#[tokio::test]
async fn client_identifiers_are_exact_where_the_broker_has_policies() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let mut daemon = Daemon::with(&mosquitto.address(), registry.host(), &[INSTANCE, EXACT]).await;
    daemon.signal("TERM").await;
    daemon.ended().await;
    assert_eq!(identifiers(&mosquitto).into_iter().collect::<Vec<_>>(), ["proxy-1", "proxy-1-chunks"]);
    assert!(has_session(&mosquitto, "proxy-1").await, "requests are queued for it");
}

/// Each row: the variables, whether the session stays, and how many presence messages do.
#[tokio::test]
async fn a_temporary_state_leaves_nothing_at_the_broker_that_nobody_uses_again() {
    const TEMPORARY: [Variable<'_>; 2] = [("PROXY_STATE_DIR", ""), ("HOME", "/dev/null")];
    let registry = DockerRegistry::start().await;
    for (own, has_lasting_session, presences) in [
        (&TEMPORARY[..], false, 0),
        (&[TEMPORARY[0], TEMPORARY[1], INSTANCE], false, 2),
        (&[TEMPORARY[0], TEMPORARY[1], INSTANCE, EXACT], true, 2),
        (&[TEMPORARY[0], TEMPORARY[1], EXACT], false, 0),
        (&[], true, 2),
    ] {
        let mosquitto = Mosquitto::start().await;
        let mut daemon = Daemon::with(&mosquitto.address(), registry.host(), own).await;
        assert_eq!(daemon.events("temporary-state").len(), usize::from(!own.is_empty()), "{}", daemon.log());
        daemon.signal("TERM").await;
        daemon.ended().await;
        let identifiers = identifiers(&mosquitto);
        let identifier = identifiers.iter().find(|identifier| !identifier.ends_with("-chunks")).expect("a connection");
        assert_eq!(has_session(&mosquitto, identifier).await, has_lasting_session, "{own:?}\n{}", daemon.log());
        let late = Client::listening(&mosquitto, &PRESENCES).await;
        late.received_all().await;
        assert_eq!(late.messages().len(), presences, "{own:?}\n{}", late.text());
    }
}
