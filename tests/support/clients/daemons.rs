//! Daemons with settings of a test's own, where several of them share a broker.

use crate::support::Variable;
use crate::support::clients::daemon::{Daemon, environment, owned};
use crate::support::faults::relay::{Relay, UNLIMITED};
use crate::support::servers::mosquitto::Mosquitto;

/// Runs a daemon with further `variables` between the broker at `address` and the registry at `registry`.
pub async fn start(address: &str, registry: &str, variables: &[Variable<'_>]) -> Daemon {
    let mut all = environment(address, registry);
    all.extend(owned(variables));
    Daemon::start(&all).await
}

/// Starts a relay before a broker that takes so many bytes a second, and returns it with the address to be used.
pub async fn relay_before(mosquitto: &Mosquitto, up: u32) -> (Relay, String) {
    let relay = Relay::start(format!("127.0.0.1:{}", mosquitto.port())).await;
    relay.limit(up, UNLIMITED);
    let address = format!("tcp://{}", relay.host());
    (relay, address)
}
