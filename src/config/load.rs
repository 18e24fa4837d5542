//! Reading all settings, with every problem in one error.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroU32;

use secrecy::SecretString;
use uuid::Uuid;

use super::settings::{self, SETTINGS, Setting};
use super::values::{MAX_CHUNK_SIZE, boolean, duration};
use super::{Config, Credentials, Login, MqttConfig};
use crate::topic::{Channel, is_topic_level};

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
    let instance_id = reader.optional(&settings::INSTANCE_ID, id).unwrap_or_else(|| Uuid::new_v4().to_string());
    let address = reader.required(&settings::MQTT_ADDRESS, |text| text.parse().ok());
    let timeout = reader.required(&settings::MQTT_TIMEOUT, duration);
    let qos = reader.required(&settings::MQTT_QOS, |text| text.parse().ok().filter(|qos| *qos <= 2));
    let domain = reader.required(&settings::DOMAIN_ID, id);
    let channel = reader.required(&settings::CHANNEL_ID, id);
    let client_id = reader.optional(&settings::CLIENT_ID, id);
    let client_key = reader.optional(&settings::CLIENT_KEY, |text| any(text).map(SecretString::from));
    reader.pair(&settings::CLIENT_ID, &settings::CLIENT_KEY);
    let registry_url = reader.required(&settings::REGISTRY_URL, |text| text.parse().ok());
    let authenticate = reader.required(&settings::AUTHENTICATE, boolean);
    let username = reader.optional(&settings::REGISTRY_USERNAME, |text| {
        (!text.contains(|c: char| c == ':' || c.is_control())).then(|| text.to_owned())
    });
    let password = reader.optional(&settings::REGISTRY_PASSWORD, printable);
    let token = reader.optional(&settings::REGISTRY_TOKEN, |text| {
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| SecretString::from(text))
    });
    if authenticate == Some(true) {
        reader.pair(&settings::REGISTRY_USERNAME, &settings::REGISTRY_PASSWORD);
        reader.usable_credentials();
    }
    let chunk_size = reader.required(&settings::CHUNK_SIZE, |text| {
        text.parse().ok().filter(|size: &NonZeroU32| size.get() <= MAX_CHUNK_SIZE)
    });

    let credentials = match (authenticate, username, password, token) {
        (Some(true), Some(username), Some(password), _) => Credentials::Basic { username, password },
        (Some(true), _, _, Some(token)) => Credentials::Token(token),
        _ => Credentials::Anonymous,
    };
    let login = client_id.zip(client_key).map(|(username, password)| Login { username, password });
    let config = (|| {
        Some(Config {
            log_level: log_level?,
            instance_id,
            mqtt: MqttConfig { address: address?, timeout: timeout?, qos: qos?, login },
            channel: Channel { domain: domain?, id: channel? },
            registry_url: registry_url?,
            registry_credentials: credentials,
            chunk_size: chunk_size?,
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

    fn usable_credentials(&mut self) {
        let all = [&settings::REGISTRY_USERNAME, &settings::REGISTRY_PASSWORD, &settings::REGISTRY_TOKEN];
        if all.into_iter().all(|setting| !self.is_set(setting)) {
            self.problems.push(Problem::Bad {
                name: settings::AUTHENTICATE.names[0],
                given: "true without credentials".into(),
                accepts: "PROXY_REGISTRY_USERNAME and PROXY_REGISTRY_PASSWORD, or PROXY_REGISTRY_TOKEN".into(),
            });
        }
    }
}

/// A value as a message shows it; what may be a user name and password in a URL is left out.
fn shown(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("\"{}***@{}\"", scheme.escape_debug(), after.escape_debug())
        }
        None => format!("{value:?}"),
    }
}
