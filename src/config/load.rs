//! Reading all settings, with every problem in one error.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::RootCertStore;
use secrecy::SecretString;

use super::docker::DockerConfig;
use super::settings::{self, SETTINGS, Setting};
use super::values::{MAX_CHUNK_SIZE, boolean, duration, positive_duration, size, tag_moves};
use super::{
    ClientIdentity, Config, Credentials, DeliveryConfig, Login, MqttConfig, RegistryConfig, StateConfig, StoreConfig,
    pem,
};
use crate::delivery::schedule::Limits;
use crate::tls;
use crate::topic::{ANY, Channels, is_topic_level};

/// Every problem of a configuration, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem{}:\n{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, lines(problems))]
pub struct ConfigError {
    /// The problems: contradictions first, then in the order of [`SETTINGS`].
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is required and not given.
    Missing {
        /// The variable.
        name: &'static str,
        /// What is accepted, and why it is needed where that is not plain.
        accepts: String,
    },
    /// Its value is not accepted.
    Bad {
        /// The variable.
        name: &'static str,
        /// The value, quoted; secrets are not shown.
        given: String,
        /// What is accepted.
        accepts: String,
    },
    /// Two variables for it have different values.
    Conflict {
        /// One variable.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, accepts } => write!(f, "{name} is missing; give {accepts}"),
            Self::Bad { name, given, accepts } => write!(f, "{name} is {given}; give {accepts}"),
            Self::Conflict { first, second } => {
                write!(f, "{first} and {second} mean the same and have different values; give one of them")
            }
        }
    }
}

/// What was given for one setting.
struct Given {
    name: &'static str,
    value: String,
}

/// Reads values setting by setting and collects what is wrong.
struct Reader {
    /// By the setting's first name; `None` where the value is unusable and that is already reported.
    given: HashMap<&'static str, Option<Given>>,
    problems: Vec<Problem>,
}

pub(super) fn load(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(lookup);
    let any = |text: &str| Some(text.to_owned());
    let id = |text: &str| is_topic_level(text).then(|| text.to_owned());
    let printable = |text: &str| (!text.contains(char::is_control)).then(|| SecretString::from(text));

    let log_level = reader.required(&settings::LOG_LEVEL, |text| text.parse().ok());
    let instance_id = reader.optional(&settings::INSTANCE_ID, id);
    let address = reader.required(&settings::MQTT_ADDRESS, |text| text.parse().ok());
    let timeout = reader.required(&settings::MQTT_TIMEOUT, positive_duration);
    let qos = reader.required(&settings::MQTT_QOS, |text| text.parse().ok().filter(|qos| *qos <= 2));
    let domain = reader.required(&settings::DOMAIN_ID, |text| id(text).or_else(|| any_level(text)));
    let channels = reader.required(&settings::CHANNEL_ID, |text| {
        let listed = text.split(',').map(|item| id(item.trim())).collect();
        any_level(text).map(|any| vec![any]).or(listed)
    });
    let share_group = reader.optional(&settings::SHARE_GROUP, id);
    let client_id = reader.optional(&settings::CLIENT_ID, id);
    let client_key = reader.optional(&settings::CLIENT_KEY, |text| any(text).map(SecretString::from));
    reader.pair(&settings::CLIENT_ID, &settings::CLIENT_KEY);
    let registry_url = reader.required(&settings::REGISTRY_URL, |text| text.parse().ok());
    let authenticate = reader.required(&settings::AUTHENTICATE, boolean);
    let username = reader.optional(&settings::REGISTRY_USERNAME, |text| {
        (!text.contains(|c: char| c == ':' || c.is_control())).then(|| text.to_owned())
    });
    let password = reader.optional(&settings::REGISTRY_PASSWORD, printable);
    let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| SecretString::from(text));
    let token = reader.optional(&settings::REGISTRY_TOKEN, graphic);
    let identity_token = reader.optional(&settings::REGISTRY_IDENTITY_TOKEN, graphic);
    let auth_file = if authenticate == Some(true) {
        reader.pair(&settings::REGISTRY_USERNAME, &settings::REGISTRY_PASSWORD);
        let file = reader.auth_file(lookup);
        reader.usable_credentials(file.as_deref());
        file
    } else {
        None
    };
    let allow = reader.optional(&settings::REGISTRY_ALLOW, list).unwrap_or_default();
    let token_services = reader.optional(&settings::REGISTRY_TOKEN_SERVICES, list).unwrap_or_default();
    let mirrors = reader.optional(&settings::REGISTRY_MIRRORS, list).unwrap_or_default();
    let ca_certificates = reader.optional(&settings::REGISTRY_CA_CERT, pem::certificates).unwrap_or_default();
    let chain = reader.optional(&settings::REGISTRY_CLIENT_CERT, pem::certificates);
    let key = reader.optional(&settings::REGISTRY_CLIENT_KEY, pem::private_key);
    reader.pair(&settings::REGISTRY_CLIENT_CERT, &settings::REGISTRY_CLIENT_KEY);
    let client_identity = chain.zip(key).map(|(chain, key)| ClientIdentity { chain, key });
    reader.matching(client_identity.as_ref());
    let verify_keys = reader.optional(&settings::VERIFY_KEY, pem::public_keys).unwrap_or_default();
    let pull_policy = reader.required(&settings::PULL_POLICY, |text| text.parse().ok());
    let tag_ttl = reader.required(&settings::TAG_TTL, duration);
    let fetch_timeout = reader.required(&settings::FETCH_TIMEOUT, positive_duration);
    let max_module_size = reader.required(&settings::MAX_MODULE_SIZE, |text| size(text).filter(|size| *size > 0));
    let folder = reader.optional(&settings::CACHE_DIR, |text| Some(PathBuf::from(text)));
    let limit = reader.required(&settings::CACHE_SIZE, size);
    let state = reader.state(lookup);
    let max_fetches = reader.required(&settings::MAX_FETCHES, within(64));
    let delivery = reader.delivery();

    let credentials = match (username.zip(password), token, identity_token) {
        _ if authenticate != Some(true) => Credentials::Anonymous,
        (Some((username, password)), ..) => Credentials::Basic { username, password },
        (None, Some(token), _) => Credentials::Token(token),
        (None, None, Some(token)) => Credentials::Identity(token),
        (None, None, None) => Credentials::Anonymous,
    };
    let login = client_id.zip(client_key).map(|(username, password)| Login { username, password });
    let config = (|| {
        Some(Config {
            log_level: log_level?,
            instance_id,
            mqtt: MqttConfig { address: address?, timeout: timeout?, qos: qos?, login },
            channels: Channels { domain: domain?, ids: channels? },
            share_group,
            registry: RegistryConfig {
                url: registry_url?,
                credentials,
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
            },
            store: StoreConfig {
                named: folder.is_some(),
                folder: folder.unwrap_or_else(|| usual_folder(lookup, &CACHE_FOLDERS)),
                limit: limit?,
            },
            state,
            delivery: delivery?,
        })
    })();
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(ConfigError { problems: reader.problems }),
    }
}

impl Reader {
    fn new(lookup: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let mut reader = Self { given: HashMap::new(), problems: Vec::new() };
        for setting in SETTINGS {
            reader.gather(setting, lookup);
        }
        reader
    }

    /// Finds the value of one setting among its names.
    fn gather(&mut self, setting: &'static Setting, lookup: &dyn Fn(&str) -> Option<OsString>) {
        let set = |names: &'static [&'static str]| -> Vec<(&'static str, OsString)> {
            names.iter().filter_map(|name| Some((*name, lookup(name).filter(|value| !value.is_empty())?))).collect()
        };
        let current = set(setting.names);
        if let [(first, value), rest @ ..] = current.as_slice()
            && let Some((second, _)) = rest.iter().find(|(_, other)| other != value)
        {
            self.problems.push(Problem::Conflict { first, second });
        }
        let Some((name, value)) = current.into_iter().chain(set(setting.old_names)).next() else { return };
        match value.into_string() {
            Ok(value) => {
                self.given.insert(setting.names[0], Some(Given { name, value }));
            }
            Err(value) => {
                let given =
                    if setting.secret { "not UTF-8".into() } else { format!("\"{}\", not UTF-8", value.display()) };
                self.problems.push(Problem::Bad { name, given, accepts: setting.accepts.into() });
                self.given.insert(setting.names[0], None);
            }
        }
    }

    fn is_set(&self, setting: &Setting) -> bool {
        self.given.contains_key(setting.names[0])
    }

    /// The value of a setting that may be left out.
    fn optional<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let &Given { name, ref value } = self.given.get(setting.names[0])?.as_ref()?;
        let parsed = parse(value);
        if parsed.is_none() {
            let given = if setting.secret { "set to something else".into() } else { shown(value) };
            self.problems.push(Problem::Bad { name, given, accepts: setting.accepts.into() });
        }
        parsed
    }

    /// The value of a setting that must be given, or has a default.
    fn required<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if self.is_set(setting) {
            return self.optional(setting, parse);
        }
        let default = setting.default.and_then(parse);
        if default.is_none() {
            self.problems.push(Problem::Missing { name: setting.names[0], accepts: setting.accepts.into() });
        }
        default
    }

    /// Two settings that make sense together only.
    fn pair(&mut self, one: &'static Setting, other: &'static Setting) {
        for (given, missing) in [(one, other), (other, one)] {
            if self.is_set(given) && !self.is_set(missing) {
                let name = self.given[given.names[0]].as_ref().map_or(given.names[0], |given| given.name);
                let accepts = format!("{}, or leave {name} out", missing.accepts);
                self.problems.push(Problem::Missing { name: missing.names[0], accepts });
            }
        }
    }

    /// Where is kept what must survive a restart.
    fn state(&mut self, lookup: &dyn Fn(&str) -> Option<OsString>) -> StateConfig {
        let folder = self.optional(&settings::STATE_DIR, |text| Some(PathBuf::from(text)));
        StateConfig { named: folder.is_some(), folder: folder.unwrap_or_else(|| usual_folder(lookup, &STATE_FOLDERS)) }
    }

    /// How modules are delivered.
    fn delivery(&mut self) -> Option<DeliveryConfig> {
        let tag_moves = self.required(&settings::TAG_MOVES, tag_moves);
        let max_requests = self.required(&settings::MAX_REQUESTS, within(1_000_000));
        let max_in_flight = self.required(&settings::MAX_IN_FLIGHT, |text| size(text).filter(|size| *size > 0));
        let publish_rate = self.optional(&settings::PUBLISH_RATE, |text| size(text).and_then(NonZeroU64::new));
        let max_repeats = self.required(&settings::MAX_REPEATS, size);
        let max_passes = self.required(&settings::MAX_PASSES, within(6000));
        let chunk_size = self.required(&settings::CHUNK_SIZE, within(MAX_CHUNK_SIZE));
        Some(DeliveryConfig {
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
    fn auth_file(&mut self, lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let setting = &settings::REGISTRY_AUTH_FILE;
        let named = self.optional(setting, |text| Some(PathBuf::from(text)));
        let usual = || {
            let file = folder(lookup, &[("DOCKER_CONFIG", ""), ("HOME", ".docker")])?.join("config.json");
            file.exists().then_some(file)
        };
        let file = named.or_else(usual)?;
        match DockerConfig::read(&file) {
            Ok(_) => Some(file),
            Err(reason) => {
                let given = format!("{:?}, which {reason}", file.display().to_string());
                self.problems.push(Problem::Bad { name: setting.names[0], given, accepts: setting.accepts.into() });
                None
            }
        }
    }

    /// The client certificate and its key must belong together.
    fn matching(&mut self, identity: Option<&ClientIdentity>) {
        let roots = Arc::new(RootCertStore::empty());
        if identity.is_some() && tls::client_config(roots, &[], identity).is_err() {
            self.problems.push(Problem::Bad {
                name: settings::REGISTRY_CLIENT_KEY.names[0],
                given: "not the key of PROXY_REGISTRY_CLIENT_CERT".into(),
                accepts: settings::REGISTRY_CLIENT_KEY.accepts.into(),
            });
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
            self.problems.push(Problem::Bad {
                name: settings::AUTHENTICATE.names[0],
                given: "true without credentials".into(),
                accepts: "PROXY_REGISTRY_USERNAME and PROXY_REGISTRY_PASSWORD, PROXY_REGISTRY_TOKEN, \
                          PROXY_REGISTRY_IDENTITY_TOKEN or PROXY_REGISTRY_AUTH_FILE"
                    .into(),
            });
        }
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
fn folder(lookup: &dyn Fn(&str) -> Option<OsString>, places: &[(&str, &str)]) -> Option<PathBuf> {
    let place =
        |(name, below): &(&str, &str)| Some(PathBuf::from(lookup(name).filter(|value| !value.is_empty())?).join(below));
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

fn usual_folder(lookup: &dyn Fn(&str) -> Option<OsString>, places: &Places) -> PathBuf {
    const NAME: &str = "propeller-proxy";
    let Places { service, desktop, user, system } = *places;
    folder(lookup, &[(service, "")])
        .unwrap_or_else(|| folder(lookup, &[(desktop, ""), ("HOME", user)]).unwrap_or_else(|| system.into()).join(NAME))
}

/// The filter that matches every level of a topic.
fn any_level(text: &str) -> Option<String> {
    (text.trim() == ANY).then(|| ANY.to_owned())
}

/// A value as a message shows it; what may be a user name and password in a URL is left out.
fn shown(value: &str) -> String {
    if value.contains("-----BEGIN") {
        return "a PEM text of another kind".into();
    }
    match value.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("\"{}***@{}\"", scheme.escape_debug(), after.escape_debug())
        }
        None => format!("{value:?}"),
    }
}
