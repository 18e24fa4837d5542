//! What the service is made of.

use crate::config::load::FromSettings;
use crate::config::reader::Reader;
use crate::config::setting::Setting;
use crate::config::table::{INSTANCE_ID, LOG_LEVEL, SHARE_GROUP};
use crate::config::values::LogLevel;
use crate::delivery::DeliveryOptions;
use crate::mqtt::BrokerOptions;
use crate::mqtt::topic::Channels;
use crate::oci::options::RegistryOptions;
use crate::oci::store::StoreOptions;
use crate::read_fields;
use crate::service::ServiceOptions;
use crate::state::StateOptions;

impl FromSettings for ServiceOptions {
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
