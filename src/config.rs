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
use crate::topic::Channel;

/// Everything the service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Least severe level of the log.
    pub log_level: LogLevel,
    /// Names this process; its MQTT client identifier.
    pub instance_id: String,
    /// The broker.
    pub mqtt: MqttConfig,
    /// The channel that is served.
    pub channel: Channel,
    /// Where modules come from, and by which rules.
    pub registry: RegistryConfig,
    /// Where they are kept.
    pub store: StoreConfig,
    /// Bytes of module in one chunk.
    pub chunk_size: NonZeroU32,
}

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// Its address.
    pub address: BrokerAddress,
    /// How long connecting, or writing one message, may take.
    pub timeout: Duration,
    /// The quality of service of chunks and of the request subscription: 0, 1 or 2.
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

    /// Reads every setting from the environment of this process.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::load(|name| std::env::var_os(name))
    }
}
