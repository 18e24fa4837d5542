//! Proplets of the tests' channel.

use std::time::Duration;

use propeller_proxy::device::{Proplet, Tally};
use propeller_proxy::mqtt::topic::{Channel, Layout};
use propeller_proxy::mqtt::{BrokerOptions, Login, TlsOptions};
use tokio::time::{sleep, timeout};

use crate::support::clients::daemon::{CHANNEL, DOMAIN};
use crate::support::faults::relay::Relay;
use crate::support::servers::mosquitto::Mosquitto;

/// The domain and the channel.
const HERE: (&str, &str) = (DOMAIN, CHANNEL);
/// Longest wait for messages.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A proplet as they come: plain layout, QoS 2.
pub async fn connect(mosquitto: &Mosquitto) -> Proplet {
    connect_at(mosquitto, Layout::Plain, 2).await
}

/// A proplet of one layout and QoS.
pub async fn connect_at(mosquitto: &Mosquitto, layout: Layout, qos: u8) -> Proplet {
    connect_as(mosquitto, layout, qos, None).await
}

/// A proplet that gives a user name and password.
pub async fn connect_as(mosquitto: &Mosquitto, layout: Layout, qos: u8, login: Option<(&str, &str)>) -> Proplet {
    connect_to(&mosquitto.address(), HERE, layout, qos, login).await
}

/// A proplet of any channel of a domain: plain layout, QoS 2.
pub async fn connect_on(mosquitto: &Mosquitto, channel: (&str, &str), login: Option<(&str, &str)>) -> Proplet {
    connect_to(&mosquitto.address(), channel, Layout::Plain, 2, login).await
}

/// A proplet with a relay before the broker.
pub async fn connect_through(relay: &Relay) -> Proplet {
    connect_to(&relay.host(), HERE, Layout::Plain, 2, None).await
}

/// A proplet that knows the broker by an address.
pub async fn connect_by(address: &str) -> Proplet {
    connect_to(address, HERE, Layout::Plain, 2, None).await
}

async fn connect_to(
    address: &str,
    (domain, channel): (&str, &str),
    layout: Layout,
    qos: u8,
    login: Option<(&str, &str)>,
) -> Proplet {
    let mqtt = BrokerOptions {
        address: address.parse().expect("an address"),
        timeout: Duration::from_secs(10),
        qos,
        login: login.map(|(username, password)| Login { username: username.into(), password: password.into() }),
        tls: TlsOptions::default(),
    };
    let channel = Channel { domain: domain.into(), id: channel.into() };
    Proplet::connect(&mqtt, &channel, layout).await.expect("a proplet's connection")
}

/// Returns how many chunks a proplet has received, stored or not.
pub fn chunks_received(proplet: &Proplet) -> u64 {
    let Tally { stored, repeated, other_total, .. } = proplet.tally();
    stored + repeated + other_total
}

/// Waits until a proplet has received so many chunks, and its tasks know.
pub async fn receives(proplet: &Proplet, chunks: u64) {
    // It wakes its tasks only, so this polls.
    let heard = async {
        while chunks_received(proplet) < chunks {
            sleep(POLL).await;
        }
        sleep(POLL).await;
    };
    let heard = timeout(DEADLINE, heard).await;
    assert!(heard.is_ok(), "{} of {chunks} chunks were heard", chunks_received(proplet));
}
