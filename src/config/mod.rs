//! The configuration, under the names that users of the original proxy know.
//!
//! [`SETTINGS`] is the one list of settings; [`Sources`] says where each comes from (a flag, the environment, the
//! configuration file), and [`Config::load`] checks them and reports every problem at once.

mod load;
mod pem;
mod settings;
mod sources;
mod values;

use url::Url;

pub use self::load::{ConfigError, Problem};
pub use self::settings::{FILE_SUFFIX, Part, SETTINGS, Setting};
pub use self::sources::{Effective, Origin, Sources};
pub use self::values::{LogFormat, LogLevel, MAX_CHUNK_SIZE, positive_duration};
use crate::delivery::DeliveryOptions;
use crate::mqtt::BrokerOptions;
use crate::mqtt::topic::Channels;
use crate::oci::options::RegistryOptions;
use crate::oci::store::StoreOptions;
use crate::state::StateOptions;

/// Everything the service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the daemon tells those who run it; the core knows nothing of it.
    pub operation: OperationConfig,
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

/// What the daemon tells those who run it.
#[derive(Debug, Clone)]
pub struct OperationConfig {
    /// Least severe level of the log.
    pub log_level: LogLevel,
    /// The form of the log.
    pub log_format: LogFormat,
    /// Where the HTTP endpoint listens, if there is to be one.
    pub http: Option<HttpAddress>,
    /// Where traces are posted (OTLP over HTTP), if anywhere.
    pub otel_url: Option<Url>,
    /// The part of deliveries that is traced, 0 to 1.
    pub trace_ratio: f64,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// Name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port; 0 for a free one.
    pub port: u16,
}

impl Config {
    /// Reads every setting.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem there is: missing, malformed, contradictory and unknown settings.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// Reads the settings of registries and of the store only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_registry(sources: &Sources<'_>) -> Result<(RegistryOptions, StoreOptions), ConfigError> {
        load::load_registry(sources)
    }

    /// Reads the settings of registries, of the store and of delivery only: what becomes of a module before it is sent.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_inspection(
        sources: &Sources<'_>,
    ) -> Result<(RegistryOptions, StoreOptions, DeliveryOptions), ConfigError> {
        load::load_inspection(sources)
    }

    /// Reads what the daemon tells those who run it only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_operation(sources: &Sources<'_>) -> Result<OperationConfig, ConfigError> {
        load::load_operation(sources)
    }

    /// Reads the settings of the broker only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_mqtt(sources: &Sources<'_>) -> Result<BrokerOptions, ConfigError> {
        load::load_mqtt(sources)
    }

    /// Reads the settings of the broker and the channels only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_channels(sources: &Sources<'_>) -> Result<(BrokerOptions, Channels), ConfigError> {
        load::load_channels(sources)
    }
}
