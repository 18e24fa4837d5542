//! The configuration by environment, under the names that users of the original proxy know.
//!
//! [`SETTINGS`] is the one list of settings; [`Config::load`] reads them through any lookup (the environment, a test's
//! map), and reports every problem at once.

mod address;
pub(crate) mod docker;
mod load;
mod pem;
mod registry;
mod settings;
mod values;

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub(crate) use self::address::split_authority;
pub use self::address::{BrokerAddress, RegistryUrl, Scheme, is_loopback};
pub use self::load::{ConfigError, Problem};
pub use self::registry::{ClientIdentity, Credentials, Mirror, Permission, RegistryConfig, Repositories, TokenService};
pub use self::settings::{SETTINGS, Setting};
pub use self::values::{LogLevel, MAX_CHUNK_SIZE, PullPolicy};
use crate::delivery::schedule::Limits;
use crate::delivery::versions::TagMoves;
use crate::topic::Channels;

/// Everything the service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Least severe level of the log.
    pub log_level: LogLevel,
    /// Names this proxy, and is its MQTT client identifier; one is made up and kept if none is given.
    pub instance_id: Option<String>,
    /// The broker.
    pub mqtt: MqttConfig,
    /// The channels that are served.
    pub channels: Channels,
    /// The group of replicas that divide the requests, if there are several.
    pub share_group: Option<String>,
    /// Where modules come from, and by which rules.
    pub registry: RegistryConfig,
    /// Where they are kept.
    pub store: StoreConfig,
    /// Where is kept what must survive a restart.
    pub state: StateConfig,
    /// By which rules they are delivered.
    pub delivery: DeliveryConfig,
}

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// Its address.
    pub address: BrokerAddress,
    /// How long connecting may take.
    pub timeout: Duration,
    /// The quality of service of chunks: 0, 1 or 2.
    pub qos: u8,
    /// User name and password (the client id and key of the deployment); none for a broker that admits anybody.
    pub login: Option<Login>,
}

/// An MQTT user name and password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; else a temporary one will do where it cannot be used.
    pub named: bool,
    /// The disk space that it may take, bytes.
    pub limit: u64,
}

/// Where is kept what must survive a restart.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; else a temporary one will do where it cannot be used.
    pub named: bool,
}

/// How modules are delivered.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// Bytes of module in one chunk.
    pub chunk_size: NonZeroU32,
    /// What becomes of a tag that moves.
    pub tag_moves: TagMoves,
    /// Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is sent. One message
    /// more than these bytes may be in flight.
    pub max_in_flight: usize,
    /// What the schedule is bounded by.
    pub limits: Limits,
}

impl Config {
    /// Reads every setting through `lookup`, which returns the value of an environment variable.
    ///
    /// An empty value counts as unset.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem there is: missing, malformed and contradictory settings.
    pub fn load(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        load::load(&lookup)
    }

    /// Reads the settings of registries and of the store only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_registry(
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(RegistryConfig, StoreConfig), ConfigError> {
        load::load_registry(&lookup)
    }

    /// Reads the settings of the broker only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_mqtt(lookup: impl Fn(&str) -> Option<OsString>) -> Result<MqttConfig, ConfigError> {
        load::load_mqtt(&lookup)
    }

    /// Reads every setting from the environment of this process.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::load(|name| std::env::var_os(name))
    }
}
