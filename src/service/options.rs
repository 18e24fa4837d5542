//! What a service is made of.

use crate::delivery::DeliveryOptions;
use crate::mqtt::BrokerOptions;
use crate::mqtt::topic::Channels;
use crate::oci::options::RegistryOptions;
use crate::oci::store::StoreOptions;
use crate::state::StateOptions;

/// What a service is made of.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Names this proxy, and begins its MQTT client identifiers; one is made up and kept if none is given.
    pub instance_id: Option<String>,
    /// Whether the client identifiers have no secret part.
    pub has_exact_client_id: bool,
    /// The broker.
    pub mqtt: BrokerOptions,
    /// The channels that are served.
    pub channels: Channels,
    /// The group of replicas that divide the requests, if there are several.
    pub share_group: Option<String>,
    /// Where modules come from, and by which rules.
    pub registry: RegistryOptions,
    /// Where they are kept.
    pub store: StoreOptions,
    /// Where is kept what must survive a restart.
    pub state: StateOptions,
    /// By which rules they are delivered.
    pub delivery: DeliveryOptions,
}
