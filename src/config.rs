//! The configuration, under the names that users of the original proxy know.
//!
//! [`SETTINGS`] is the one list of settings; [`Sources`] says where each comes from (a flag, the environment, the
//! configuration file), and [`Config::load`] checks them and reports every problem at once.

mod address;
pub(crate) mod docker;
mod load;
mod pem;
mod registry;
mod settings;
mod sources;
mod values;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use url::Url;

pub(crate) use self::address::split_authority;
pub use self::address::{BrokerAddress, RegistryUrl, Scheme, is_loopback};
pub use self::load::{ConfigError, Problem};
pub use self::registry::{ClientIdentity, Credentials, Mirror, Permission, RegistryConfig, Repositories, TokenService};
pub use self::settings::{FILE_SUFFIX, Part, SETTINGS, Setting};
pub use self::sources::{Effective, Origin, Sources};
pub use self::values::{LogFormat, LogLevel, MAX_CHUNK_SIZE, PullPolicy, positive_duration};
use crate::delivery::schedule::Limits;
use crate::delivery::versions::TagMoves;
use crate::topic::Channels;

/// Everything the service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the daemon tells those who run it; the core knows nothing of it.
    pub operation: OperationConfig,
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
    /// Whom its certificate is checked with, and what it is shown, where TLS is used.
    pub tls: MqttTls,
}

/// The TLS of connections to the broker.
#[derive(Debug, Clone, Default)]
pub struct MqttTls {
    /// Certificate authorities beside the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// Whether any certificate of the broker is taken.
    pub skip_verify: bool,
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
    pub fn load_registry(sources: &Sources<'_>) -> Result<(RegistryConfig, StoreConfig), ConfigError> {
        load::load_registry(sources)
    }

    /// Reads the settings of registries, of the store and of delivery only: what becomes of a module before it is sent.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_inspection(
        sources: &Sources<'_>,
    ) -> Result<(RegistryConfig, StoreConfig, DeliveryConfig), ConfigError> {
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
    pub fn load_mqtt(sources: &Sources<'_>) -> Result<MqttConfig, ConfigError> {
        load::load_mqtt(sources)
    }

    /// Reads the settings of the broker and the channels only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_channels(sources: &Sources<'_>) -> Result<(MqttConfig, Channels), ConfigError> {
        load::load_channels(sources)
    }
}
