//! The list of settings.

mod table;

pub(in crate::config) use self::table::*;

/// One setting and its names.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable, or variables of the same standing that must not contradict each other.
    pub names: &'static [&'static str],
    /// Names of the oldest deployments, read only where none of `names` is set.
    pub old_names: &'static [&'static str],
    /// The value where none is given; `None` where there is none.
    pub default: Option<&'static str>,
    /// What is accepted, as words for an error message.
    pub accepts: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
    /// Whether its value must never be shown. Then it may also be in a file, which the names with [`FILE_SUFFIX`] give.
    pub secret: bool,
    /// What it is about.
    pub part: Part,
}

/// What the names of a secret end in where they give the path of a file that has it.
pub const FILE_SUFFIX: &str = "_FILE";
const PREFIX: &str = "PROXY_";

impl Setting {
    const fn of(part: Part) -> Self {
        Self { names: &[], old_names: &[], default: None, accepts: "", help: "", secret: false, part }
    }

    /// Whether it is the daemon's alone: where it is configured, and what it tells those who run it.
    #[must_use]
    pub fn is_daemons(&self) -> bool {
        self.part == Part::Operation || *self == CONFIG_FILE
    }

    /// Its flag on the command line, without dashes in front: a secret has none, but may be in a file that a flag names.
    #[must_use]
    pub fn flag(&self) -> String {
        let suffix = if self.secret { FILE_SUFFIX } else { "" };
        format!("{}{suffix}", key(self.names[0]).unwrap_or(self.names[0])).to_ascii_lowercase().replace('_', "-")
    }

    /// Its names in the section `[proxy]` of the configuration file.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.names.iter().filter_map(|name| key(name)).map(str::to_ascii_lowercase)
    }
}

fn key(name: &'static str) -> Option<&'static str> {
    name.strip_prefix(PREFIX)
}

/// What settings are about, in the order of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The proxy itself.
    Proxy,
    /// What it tells those who run it. The core knows nothing of it.
    Operation,
    /// The broker.
    Broker,
    /// The channels.
    Channels,
    /// Registries, and the rules of fetching.
    Registry,
    /// The store.
    Store,
    /// The rules of delivery.
    Delivery,
}

impl Part {
    /// Every part, in the order of the documentation.
    pub const ALL: &[Self] =
        &[Self::Proxy, Self::Operation, Self::Broker, Self::Channels, Self::Registry, Self::Store, Self::Delivery];

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Proxy => "Proxy",
            Self::Operation => "Operation",
            Self::Broker => "Broker",
            Self::Channels => "Channels",
            Self::Registry => "Registry",
            Self::Store => "Store",
            Self::Delivery => "Delivery",
        }
    }
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[&Setting] = &[
    &CONFIG_FILE,
    &INSTANCE_ID,
    &STATE_DIR,
    &SHARE_GROUP,
    &LOG_LEVEL,
    &LOG_FORMAT,
    &HTTP_HOST,
    &HTTP_PORT,
    &OTEL_URL,
    &TRACE_RATIO,
    &MQTT_ADDRESS,
    &MQTT_TIMEOUT,
    &MQTT_QOS,
    &CLIENT_ID,
    &CLIENT_KEY,
    &MQTT_TLS_CA_CERT,
    &MQTT_TLS_CLIENT_CERT,
    &MQTT_TLS_CLIENT_KEY,
    &MQTT_TLS_INSECURE_SKIP_VERIFY,
    &DOMAIN_ID,
    &CHANNEL_ID,
    &REGISTRY_URL,
    &AUTHENTICATE,
    &REGISTRY_USERNAME,
    &REGISTRY_PASSWORD,
    &REGISTRY_TOKEN,
    &REGISTRY_IDENTITY_TOKEN,
    &REGISTRY_AUTH_FILE,
    &REGISTRY_ALLOW,
    &REGISTRY_TOKEN_SERVICES,
    &REGISTRY_MIRRORS,
    &REGISTRY_CA_CERT,
    &REGISTRY_CLIENT_CERT,
    &REGISTRY_CLIENT_KEY,
    &VERIFY_KEY,
    &PULL_POLICY,
    &TAG_TTL,
    &FETCH_TIMEOUT,
    &MAX_MODULE_SIZE,
    &MAX_FETCHES,
    &CACHE_DIR,
    &CACHE_SIZE,
    &TAG_MOVES,
    &MAX_REQUESTS,
    &MAX_IN_FLIGHT,
    &PUBLISH_RATE,
    &MAX_REPEATS,
    &MAX_PASSES,
    &CHUNK_SIZE,
];
