//! What the service is made of.

use crate::config::load::{FromSettings, load};
use crate::config::problem::ConfigError;
use crate::config::reader::Reader;
use crate::config::setting::Setting;
use crate::config::sources::Sources;
use crate::config::table::{INSTANCE_ID, LOG_LEVEL, SHARE_GROUP};
use crate::config::values::LogLevel;
use crate::delivery::DeliveryOptions;
use crate::mqtt::BrokerOptions;
use crate::mqtt::topic::Channels;
use crate::oci::options::RegistryOptions;
use crate::oci::store::StoreOptions;
use crate::read_fields;
use crate::state::StateOptions;

/// Everything the service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names this proxy, and is its MQTT client identifier; one is made up and kept if none is given.
    pub instance_id: Option<String>,
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

impl Config {
    /// Reads every setting of the service; short for [`load`].
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        load(sources)
    }
}

impl FromSettings for Config {
    fn uses(setting: &Setting) -> bool {
        type Parts = (BrokerOptions, Channels, RegistryOptions, StoreOptions, StateOptions, DeliveryOptions);
        *setting == INSTANCE_ID.setting || *setting == SHARE_GROUP.setting || Parts::uses(setting)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            instance_id: reader.optional(&INSTANCE_ID),
            mqtt: FromSettings::read(reader),
            channels: FromSettings::read(reader),
            share_group: reader.optional(&SHARE_GROUP),
            registry: FromSettings::read(reader),
            store: FromSettings::read(reader),
            state: FromSettings::read(reader),
            delivery: FromSettings::read(reader),
        })
    }
}

/// The service has no log of its own: whoever runs it has one, or ignores this.
impl FromSettings for LogLevel {
    fn uses(setting: &Setting) -> bool {
        *setting == LOG_LEVEL.setting
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.required(&LOG_LEVEL)
    }
}
