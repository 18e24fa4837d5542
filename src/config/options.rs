//! The options of each domain, made of its settings.
//!
//! A new setting is a row of the table, a field of the domain's options, and the line here that puts the one into the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use super::load::FromSettings;
use super::reader::Reader;
use super::setting::{Part, Setting, Typed};
use super::table::{
    AUTHENTICATE, CACHE_DIR, CACHE_SIZE, CHANNEL_ID, CHUNK_SIZE, CLIENT_ID, CLIENT_KEY, DOMAIN_ID, EXACT_CLIENT_ID,
    FETCH_TIMEOUT, INSTANCE_ID, LOG_LEVEL, MAX_FETCHES, MAX_IN_FLIGHT, MAX_MODULE_SIZE, MAX_PASSES, MAX_REPEATS,
    MAX_REQUESTS, MQTT_ADDRESS, MQTT_QOS, MQTT_TIMEOUT, MQTT_TLS_CA_CERT, MQTT_TLS_CLIENT_CERT, MQTT_TLS_CLIENT_KEY,
    MQTT_TLS_INSECURE_SKIP_VERIFY, PUBLISH_RATE, PULL_POLICY, REGISTRY_ALLOW, REGISTRY_AUTH_FILE, REGISTRY_CA_CERT,
    REGISTRY_CLIENT_CERT, REGISTRY_CLIENT_KEY, REGISTRY_IDENTITY_TOKEN, REGISTRY_MIRRORS, REGISTRY_PASSWORD,
    REGISTRY_TOKEN, REGISTRY_TOKEN_SERVICES, REGISTRY_URL, REGISTRY_USERNAME, SHARE_GROUP, STATE_DIR, TAG_MOVES,
    TAG_TTL, VERIFY_KEY,
};
use super::values::LogLevel;
use super::values::pem::{self, Certificates, PrivateKey};
use crate::delivery::DeliveryOptions;
use crate::delivery::rules::schedule::Limits;
use crate::mqtt::topic::Channels;
use crate::mqtt::{BrokerOptions, Login, TlsOptions};
use crate::oci::options::{Credentials, RegistryOptions};
use crate::oci::registry::DockerConfig;
use crate::oci::store::StoreOptions;
use crate::read_fields;
use crate::service::ServiceOptions;
use crate::state::StateOptions;
use crate::tls::{self, ClientIdentity};

impl FromSettings for ServiceOptions {
    fn uses(setting: &Setting) -> bool {
        type Parts = (BrokerOptions, Channels, RegistryOptions, StoreOptions, StateOptions, DeliveryOptions);
        [&INSTANCE_ID.setting, &EXACT_CLIENT_ID.setting, &SHARE_GROUP.setting].contains(&setting)
            || Parts::uses(setting)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            instance_id: reader.optional(&INSTANCE_ID),
            has_exact_client_id: reader.required(&EXACT_CLIENT_ID),
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

impl FromSettings for BrokerOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Broker
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            address: reader.required(&MQTT_ADDRESS),
            timeout: reader.required(&MQTT_TIMEOUT),
            qos: reader.required(&MQTT_QOS),
            login: Some(login(reader)),
            tls: read_fields!(TlsOptions {
                ca_certificates: reader.or_default(&MQTT_TLS_CA_CERT),
                client_identity: Some(identity(reader, &MQTT_TLS_CLIENT_CERT, &MQTT_TLS_CLIENT_KEY)),
                skip_verify: reader.required(&MQTT_TLS_INSECURE_SKIP_VERIFY),
            }),
        })
    }
}

impl FromSettings for Channels {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Channels
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self { domain: reader.required(&DOMAIN_ID), ids: reader.required(&CHANNEL_ID) })
    }
}

fn login(reader: &mut Reader<'_>) -> Option<Login> {
    reader.pair(&CLIENT_ID, &CLIENT_KEY);
    let username = reader.optional(&CLIENT_ID).flatten();
    let password = reader.optional(&CLIENT_KEY).flatten();
    username.zip(password).map(|(username, password)| Login { username, password })
}

/// A client certificate that is valid now, and its key.
fn identity(
    reader: &mut Reader<'_>,
    certificate: &'static Typed<Certificates>,
    key: &'static Typed<PrivateKey>,
) -> Option<ClientIdentity> {
    reader.pair(certificate, key);
    let chain = reader.optional(certificate).flatten();
    let private_key = reader.optional(key).flatten();
    if let Some(given) = chain.as_ref().and_then(|chain| pem::out_of_date(chain)) {
        reader.reject(&certificate.setting, given, "one that is valid now".into());
    }
    let identity = chain.zip(private_key).map(|(chain, key)| ClientIdentity { chain, key });
    let roots = Arc::new(RootCertStore::empty());
    if identity.is_some() && tls::client_config(roots, &[], identity.as_ref()).is_err() {
        let given = format!("not the key of {}", certificate.setting.name);
        reader.reject(&key.setting, given, key.setting.accepts.into());
    }
    identity
}

impl FromSettings for RegistryOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Registry
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (own, file) = authentication(reader).unzip();
        read_fields!(Self {
            url: reader.required(&REGISTRY_URL),
            credentials: own,
            auth_file: file,
            allow: reader.or_default(&REGISTRY_ALLOW),
            token_services: reader.or_default(&REGISTRY_TOKEN_SERVICES),
            mirrors: reader.or_default(&REGISTRY_MIRRORS),
            ca_certificates: reader.or_default(&REGISTRY_CA_CERT),
            client_identity: Some(identity(reader, &REGISTRY_CLIENT_CERT, &REGISTRY_CLIENT_KEY)),
            verify_keys: reader.or_default(&VERIFY_KEY),
            pull_policy: reader.required(&PULL_POLICY),
            tag_ttl: reader.required(&TAG_TTL),
            fetch_timeout: reader.required(&FETCH_TIMEOUT),
            max_module_size: reader.required(&MAX_MODULE_SIZE),
            max_fetches: reader.required(&MAX_FETCHES),
        })
    }
}

/// The credentials for the configured registry, and the docker configuration file with those for others. They are checked
/// even where registries are given none; whether they are enough is of interest only where they are used.
fn authentication(reader: &mut Reader<'_>) -> Option<(Credentials, Option<PathBuf>)> {
    let is_authenticated = reader.required(&AUTHENTICATE);
    let credentials = credentials(reader);
    if !is_authenticated? {
        return Some((Credentials::Anonymous, None));
    }
    reader.pair(&REGISTRY_USERNAME, &REGISTRY_PASSWORD);
    let auth_file = auth_file(reader);
    require_credentials(reader, auth_file.as_deref());
    Some((credentials, auth_file))
}

fn credentials(reader: &mut Reader<'_>) -> Credentials {
    let username = reader.optional(&REGISTRY_USERNAME).flatten();
    let password = reader.optional(&REGISTRY_PASSWORD).flatten();
    let token = reader.optional(&REGISTRY_TOKEN).flatten();
    let identity_token = reader.optional(&REGISTRY_IDENTITY_TOKEN).flatten();
    match (username.zip(password), token, identity_token) {
        (Some((username, password)), ..) => Credentials::Basic { username, password },
        (None, Some(token), _) => Credentials::Token(token),
        (None, None, Some(token)) => Credentials::Identity(token),
        (None, None, None) => Credentials::Anonymous,
    }
}

/// The docker configuration file that is named, or that is where such files are.
fn auth_file(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let named = reader.optional(&REGISTRY_AUTH_FILE).flatten();
    let usual = || {
        let file = reader.folder(&[("DOCKER_CONFIG", ""), ("HOME", ".docker")])?.join("config.json");
        file.exists().then_some(file)
    };
    let file = named.or_else(usual)?;
    match DockerConfig::read(&file) {
        Ok(_) => Some(file),
        Err(reason) => {
            let setting = &REGISTRY_AUTH_FILE.setting;
            let given = format!("{:?}, which {reason}", file.display().to_string());
            reader.reject(setting, given, setting.accepts.into());
            None
        }
    }
}

/// Authentication needs credentials of some kind.
fn require_credentials(reader: &mut Reader<'_>, auth_file: Option<&Path>) {
    let is_set = reader.is_set(&REGISTRY_USERNAME)
        || reader.is_set(&REGISTRY_PASSWORD)
        || reader.is_set(&REGISTRY_TOKEN)
        || reader.is_set(&REGISTRY_IDENTITY_TOKEN)
        || reader.is_set(&REGISTRY_AUTH_FILE);
    if auth_file.is_none() && !is_set {
        let accepts = "PROXY_REGISTRY_USERNAME and PROXY_REGISTRY_PASSWORD, PROXY_REGISTRY_TOKEN, \
                       PROXY_REGISTRY_IDENTITY_TOKEN or PROXY_REGISTRY_AUTH_FILE";
        reader.reject(&AUTHENTICATE.setting, "true without credentials".into(), accepts.into());
    }
}

impl FromSettings for StoreOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Store
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (path, has_name) = folder(reader, &CACHE_DIR, &CACHE_FOLDERS).unzip();
        read_fields!(Self { folder: path, is_named: has_name, limit: reader.required(&CACHE_SIZE) })
    }
}

impl FromSettings for StateOptions {
    fn uses(setting: &Setting) -> bool {
        *setting == STATE_DIR.setting
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (folder, is_named) = folder(reader, &STATE_DIR, &STATE_FOLDERS)?;
        Some(Self { folder, is_named })
    }
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

/// A folder, and whether the operator named it.
fn folder(reader: &mut Reader<'_>, named: &'static Typed<PathBuf>, places: &Places) -> Option<(PathBuf, bool)> {
    let named = reader.optional(named)?;
    let is_named = named.is_some();
    Some((named.unwrap_or_else(|| usual_folder(reader, places)), is_named))
}

fn usual_folder(reader: &Reader<'_>, places: &Places) -> PathBuf {
    const NAME: &str = "propeller-proxy";
    let Places { service, desktop, user, system } = *places;
    reader
        .folder(&[(service, "")])
        .unwrap_or_else(|| reader.folder(&[(desktop, ""), ("HOME", user)]).unwrap_or_else(|| system.into()).join(NAME))
}

impl FromSettings for DeliveryOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Delivery
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            chunk_size: reader.required(&CHUNK_SIZE),
            tag_moves: reader.required(&TAG_MOVES),
            max_in_flight: reader.required(&MAX_IN_FLIGHT),
            limits: read_fields!(Limits {
                open_requests: reader.required(&MAX_REQUESTS),
                passes_per_minute: reader.required(&MAX_PASSES),
                publish_rate: reader.optional(&PUBLISH_RATE),
                repeats: reader.optional(&MAX_REPEATS),
            }),
        })
    }
}
