//! Reading all settings, or those of one part, with every problem in one error.

mod reader;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::RootCertStore;
use secrecy::SecretString;
use url::Url;

use self::reader::Reader;
pub use self::reader::{ConfigError, Problem};
use super::settings::{self, Part, Setting};
use super::sources::Sources;
use super::values::{MAX_CHUNK_SIZE, boolean, duration, positive_duration, size, tag_moves};
use super::{Config, HttpAddress, OperationConfig, pem};
use crate::delivery::DeliveryOptions;
use crate::delivery::rules::schedule::Limits;
use crate::mqtt::topic::{ANY, Channels, is_topic_level};
use crate::mqtt::{BrokerOptions, Login, TlsOptions};
use crate::oci::options::{Credentials, RegistryOptions};
use crate::oci::registry::DockerConfig;
use crate::oci::store::StoreOptions;
use crate::state::StateOptions;
use crate::tls::{self, ClientIdentity};

pub(super) fn load(sources: &Sources<'_>) -> Result<Config, ConfigError> {
    let mut reader = Reader::of(Part::ALL, sources);
    let config = reader.config();
    reader.finish(config)
}

pub(super) fn load_registry(sources: &Sources<'_>) -> Result<(RegistryOptions, StoreOptions), ConfigError> {
    let mut reader = Reader::of(&[Part::Registry, Part::Store], sources);
    let (registry, store) = (reader.registry(), reader.store());
    reader.finish(registry.zip(store))
}

pub(super) fn load_mqtt(sources: &Sources<'_>) -> Result<BrokerOptions, ConfigError> {
    let mut reader = Reader::of(&[Part::Broker], sources);
    let mqtt = reader.mqtt();
    reader.finish(mqtt)
}

pub(super) fn load_channels(sources: &Sources<'_>) -> Result<(BrokerOptions, Channels), ConfigError> {
    let mut reader = Reader::of(&[Part::Broker, Part::Channels], sources);
    let (mqtt, channels) = (reader.mqtt(), reader.channels());
    reader.finish(mqtt.zip(channels))
}

pub(super) fn load_operation(sources: &Sources<'_>) -> Result<OperationConfig, ConfigError> {
    let mut reader = Reader::of(&[Part::Proxy, Part::Operation], sources);
    let operation = reader.operation();
    reader.finish(operation)
}

pub(super) fn load_inspection(
    sources: &Sources<'_>,
) -> Result<(RegistryOptions, StoreOptions, DeliveryOptions), ConfigError> {
    let mut reader = Reader::of(&[Part::Registry, Part::Store, Part::Delivery], sources);
    let (registry, store, delivery) = (reader.registry(), reader.store(), reader.delivery());
    let all = registry.zip(store).zip(delivery);
    reader.finish(all.map(|((registry, store), delivery)| (registry, store, delivery)))
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        let operation = self.operation();
        let instance_id = self.optional(&settings::INSTANCE_ID, topic_level);
        let mqtt = self.mqtt();
        let channels = self.channels();
        let share_group = self.optional(&settings::SHARE_GROUP, topic_level);
        let registry = self.registry();
        let store = self.store();
        let state = self.state();
        let delivery = self.delivery();
        Some(Config {
            operation: operation?,
            instance_id,
            mqtt: mqtt?,
            channels: channels?,
            share_group,
            registry: registry?,
            store: store?,
            state,
            delivery: delivery?,
        })
    }

    /// What the proxy tells those who run it.
    fn operation(&mut self) -> Option<OperationConfig> {
        let log_level = self.required(&settings::LOG_LEVEL, |text| text.parse().ok());
        let log_format = self.required(&settings::LOG_FORMAT, |text| text.parse().ok());
        let host = self.required(&settings::HTTP_HOST, |text| Some(text.trim_matches(['[', ']']).to_owned()));
        let port = self.required(&settings::HTTP_PORT, |text| match text {
            "off" => Some(None),
            number => number.parse().ok().map(Some),
        });
        let otel_url = self.optional(&settings::OTEL_URL, otel_url);
        let trace_ratio =
            self.required(&settings::TRACE_RATIO, |text| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)));
        Some(OperationConfig {
            log_level: log_level?,
            log_format: log_format?,
            http: host.zip(port?).map(|(host, port)| HttpAddress { host, port }),
            otel_url,
            trace_ratio: trace_ratio?,
        })
    }

    /// The channels that are served, or on one of which is asked.
    fn channels(&mut self) -> Option<Channels> {
        let domain = self.required(&settings::DOMAIN_ID, |text| topic_level(text).or_else(|| any_level(text)));
        let ids = self.required(&settings::CHANNEL_ID, |text| {
            let listed = text.split(',').map(|item| topic_level(item.trim())).collect();
            any_level(text).map(|any| vec![any]).or(listed)
        });
        Some(Channels { domain: domain?, ids: ids? })
    }

    /// How to reach the broker.
    fn mqtt(&mut self) -> Option<BrokerOptions> {
        let address = self.required(&settings::MQTT_ADDRESS, |text| text.parse().ok());
        let timeout = self.required(&settings::MQTT_TIMEOUT, positive_duration);
        let qos = self.required(&settings::MQTT_QOS, |text| text.parse().ok().filter(|qos| *qos <= 2));
        let username = self.optional(&settings::CLIENT_ID, topic_level);
        let password = self.optional(&settings::CLIENT_KEY, |text| Some(SecretString::from(text)));
        self.pair(&settings::CLIENT_ID, &settings::CLIENT_KEY);
        let login = username.zip(password).map(|(username, password)| Login { username, password });
        let tls = self.mqtt_tls();
        Some(BrokerOptions { address: address?, timeout: timeout?, qos: qos?, login, tls: tls? })
    }

    /// Whom the broker's certificate is checked with, and what the broker is shown.
    fn mqtt_tls(&mut self) -> Option<TlsOptions> {
        let ca_certificates = self.explained(&settings::MQTT_TLS_CA_CERT, pem::certificates).unwrap_or_default();
        let client_identity = self.identity(&settings::MQTT_TLS_CLIENT_CERT, &settings::MQTT_TLS_CLIENT_KEY);
        let skip_verify = self.required(&settings::MQTT_TLS_INSECURE_SKIP_VERIFY, boolean);
        Some(TlsOptions { ca_certificates, client_identity, skip_verify: skip_verify? })
    }

    /// A client certificate and its key, which come together.
    fn identity(&mut self, certificate: &'static Setting, key: &'static Setting) -> Option<ClientIdentity> {
        let chain = self.explained(certificate, pem::certificates);
        let private_key = self.explained(key, pem::private_key);
        self.pair(certificate, key);
        if let Some(given) = chain.as_ref().and_then(|chain| pem::out_of_date(chain)) {
            self.bad(certificate, given, "one that is valid now".into());
        }
        let identity = chain.zip(private_key).map(|(chain, key)| ClientIdentity { chain, key });
        let roots = Arc::new(RootCertStore::empty());
        if identity.is_some() && tls::client_config(roots, &[], identity.as_ref()).is_err() {
            let given = format!("not the key of {}", certificate.names[0]);
            self.bad(key, given, key.accepts.into());
        }
        identity
    }

    /// Where modules come from, and by which rules.
    fn registry(&mut self) -> Option<RegistryOptions> {
        let url = self.required(&settings::REGISTRY_URL, |text| text.parse().ok());
        let authenticate = self.required(&settings::AUTHENTICATE, boolean);
        let credentials = self.credentials();
        let auth_file = if authenticate == Some(true) {
            self.pair(&settings::REGISTRY_USERNAME, &settings::REGISTRY_PASSWORD);
            let file = self.auth_file();
            self.usable_credentials(file.as_deref());
            file
        } else {
            None
        };
        let allow = self.optional(&settings::REGISTRY_ALLOW, list).unwrap_or_default();
        let token_services = self.optional(&settings::REGISTRY_TOKEN_SERVICES, list).unwrap_or_default();
        let mirrors = self.optional(&settings::REGISTRY_MIRRORS, list).unwrap_or_default();
        let ca_certificates = self.explained(&settings::REGISTRY_CA_CERT, pem::certificates).unwrap_or_default();
        let client_identity = self.identity(&settings::REGISTRY_CLIENT_CERT, &settings::REGISTRY_CLIENT_KEY);
        let verify_keys = self.explained(&settings::VERIFY_KEY, pem::public_keys).unwrap_or_default();
        let pull_policy = self.required(&settings::PULL_POLICY, |text| text.parse().ok());
        let tag_ttl = self.required(&settings::TAG_TTL, duration);
        let fetch_timeout = self.required(&settings::FETCH_TIMEOUT, positive_duration);
        let max_module_size = self.required(&settings::MAX_MODULE_SIZE, |text| size(text).filter(|size| *size > 0));
        let max_fetches = self.required(&settings::MAX_FETCHES, within(64));
        Some(RegistryOptions {
            url: url?,
            credentials: if authenticate? { credentials } else { Credentials::Anonymous },
            auth_file,
            allow,
            token_services,
            mirrors,
            ca_certificates,
            client_identity,
            verify_keys,
            pull_policy: pull_policy?,
            tag_ttl: tag_ttl?,
            fetch_timeout: fetch_timeout?,
            max_module_size: max_module_size?,
            max_fetches: max_fetches?.get() as usize,
        })
    }

    /// What the configured registry is told of us.
    fn credentials(&mut self) -> Credentials {
        let printable = |text: &str| (!text.contains(char::is_control)).then(|| SecretString::from(text));
        let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| SecretString::from(text));
        let username = self.optional(&settings::REGISTRY_USERNAME, |text| {
            (!text.contains(|c: char| c == ':' || c.is_control())).then(|| text.to_owned())
        });
        let password = self.optional(&settings::REGISTRY_PASSWORD, printable);
        let token = self.optional(&settings::REGISTRY_TOKEN, graphic);
        let identity_token = self.optional(&settings::REGISTRY_IDENTITY_TOKEN, graphic);
        match (username.zip(password), token, identity_token) {
            (Some((username, password)), ..) => Credentials::Basic { username, password },
            (None, Some(token), _) => Credentials::Token(token),
            (None, None, Some(token)) => Credentials::Identity(token),
            (None, None, None) => Credentials::Anonymous,
        }
    }

    /// Where blobs are kept.
    fn store(&mut self) -> Option<StoreOptions> {
        let folder = self.optional(&settings::CACHE_DIR, |text| Some(PathBuf::from(text)));
        let limit = self.required(&settings::CACHE_SIZE, size);
        Some(StoreOptions {
            named: folder.is_some(),
            folder: folder.unwrap_or_else(|| usual_folder(self.sources, &CACHE_FOLDERS)),
            limit: limit?,
        })
    }

    /// Where is kept what must survive a restart.
    fn state(&mut self) -> StateOptions {
        let folder = self.optional(&settings::STATE_DIR, |text| Some(PathBuf::from(text)));
        StateOptions {
            named: folder.is_some(),
            folder: folder.unwrap_or_else(|| usual_folder(self.sources, &STATE_FOLDERS)),
        }
    }

    /// How modules are delivered.
    fn delivery(&mut self) -> Option<DeliveryOptions> {
        let tag_moves = self.required(&settings::TAG_MOVES, tag_moves);
        let max_requests = self.required(&settings::MAX_REQUESTS, within(1_000_000));
        let max_in_flight = self.required(&settings::MAX_IN_FLIGHT, |text| size(text).filter(|size| *size > 0));
        let publish_rate = self.optional(&settings::PUBLISH_RATE, |text| size(text).and_then(NonZeroU64::new));
        let max_repeats = self.required(&settings::MAX_REPEATS, size);
        let max_passes = self.required(&settings::MAX_PASSES, within(6000));
        let chunk_size = self.required(&settings::CHUNK_SIZE, |text| {
            size(text)
                .and_then(|size| u32::try_from(size).ok())
                .filter(|size| *size <= MAX_CHUNK_SIZE)
                .and_then(NonZeroU32::new)
        });
        Some(DeliveryOptions {
            chunk_size: chunk_size?,
            tag_moves: tag_moves?,
            max_in_flight: usize::try_from(max_in_flight?).unwrap_or(usize::MAX),
            limits: Limits {
                open_requests: max_requests?.get() as usize,
                passes_per_minute: max_passes?,
                publish_rate,
                repeats: max_repeats?,
            },
        })
    }

    /// The docker configuration file that is named, or that is where such files are.
    fn auth_file(&mut self) -> Option<PathBuf> {
        let setting = &settings::REGISTRY_AUTH_FILE;
        let named = self.optional(setting, |text| Some(PathBuf::from(text)));
        let usual = || {
            let file = folder(self.sources, &[("DOCKER_CONFIG", ""), ("HOME", ".docker")])?.join("config.json");
            file.exists().then_some(file)
        };
        let file = named.or_else(usual)?;
        match DockerConfig::read(&file) {
            Ok(_) => Some(file),
            Err(reason) => {
                let given = format!("{:?}, which {reason}", file.display().to_string());
                self.bad(setting, given, setting.accepts.into());
                None
            }
        }
    }

    /// Who is to authenticate must have something to do it with.
    fn usable_credentials(&mut self, auth_file: Option<&Path>) {
        let all = [
            &settings::REGISTRY_USERNAME,
            &settings::REGISTRY_PASSWORD,
            &settings::REGISTRY_TOKEN,
            &settings::REGISTRY_IDENTITY_TOKEN,
            &settings::REGISTRY_AUTH_FILE,
        ];
        if auth_file.is_none() && all.into_iter().all(|setting| !self.is_set(setting)) {
            let accepts = "PROXY_REGISTRY_USERNAME and PROXY_REGISTRY_PASSWORD, PROXY_REGISTRY_TOKEN, \
                           PROXY_REGISTRY_IDENTITY_TOKEN or PROXY_REGISTRY_AUTH_FILE";
            self.bad(&settings::AUTHENTICATE, "true without credentials".into(), accepts.into());
        }
    }

    fn bad(&mut self, setting: &'static Setting, given: String, accepts: String) {
        let name = self.name_of(setting);
        self.problems.push(Problem::Bad { setting, name, given, accepts });
    }
}

/// Reads a number from 1 to `most`.
fn within(most: u32) -> impl Fn(&str) -> Option<NonZeroU32> {
    move |text| text.parse().ok().filter(|number: &NonZeroU32| number.get() <= most)
}

/// Reads a list with commas between.
fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|item| item.trim().parse().ok()).collect()
}

/// The first folder that is given, by a variable and what comes below it.
fn folder(sources: &Sources<'_>, places: &[(&str, &str)]) -> Option<PathBuf> {
    let place = |(name, below): &(&str, &str)| Some(PathBuf::from(sources.variable(name)?).join(below));
    places.iter().find_map(place)
}

/// Where the system keeps things of a kind: systemd's folder, the desktop's, the user's or everybody's.
struct Places {
    service: &'static str,
    desktop: &'static str,
    user: &'static str,
    system: &'static str,
}

const CACHE_FOLDERS: Places = Places {
    service: "CACHE_DIRECTORY",
    desktop: "XDG_CACHE_HOME",
    user: if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" },
    system: "/var/cache",
};
const STATE_FOLDERS: Places = Places {
    service: "STATE_DIRECTORY",
    desktop: "XDG_STATE_HOME",
    user: if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/state" },
    system: "/var/lib",
};

fn usual_folder(sources: &Sources<'_>, places: &Places) -> PathBuf {
    const NAME: &str = "propeller-proxy";
    let Places { service, desktop, user, system } = *places;
    folder(sources, &[(service, "")]).unwrap_or_else(|| {
        folder(sources, &[(desktop, ""), ("HOME", user)]).unwrap_or_else(|| system.into()).join(NAME)
    })
}

/// An id that is one level of a topic.
fn topic_level(text: &str) -> Option<String> {
    is_topic_level(text).then(|| text.to_owned())
}

/// The filter that matches every level of a topic.
fn any_level(text: &str) -> Option<String> {
    (text.trim() == ANY).then(|| ANY.to_owned())
}

/// Reads where traces go; a collector's address means its usual path.
fn otel_url(text: &str) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Some(url)
}
