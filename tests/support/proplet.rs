//! Proplets of the tests' channel.

use std::time::Duration;

use propeller_proxy::config::{Login, MqttConfig};
use propeller_proxy::embedded::proplet::Proplet;
use propeller_proxy::topic::{Channel, Layout};

use super::daemon::{CHANNEL, DOMAIN};
use super::mosquitto::Mosquitto;

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
    let mqtt = MqttConfig {
        address: mosquitto.address().parse().expect("an address"),
        timeout: Duration::from_secs(10),
        qos,
        login: login.map(|(username, password)| Login { username: username.into(), password: password.into() }),
    };
    let channel = Channel { domain: DOMAIN.into(), id: CHANNEL.into() };
    Proplet::connect(&mqtt, &channel, layout).await.expect("a proplet's connection")
}
