//! Where modules come from, and by which rules.

use std::path::{Path, PathBuf};

use super::broker::identity;
use crate::config::load::FromSettings;
use crate::config::reader::Reader;
use crate::config::setting::{Part, Setting};
use crate::config::table::{
    AUTHENTICATE, FETCH_TIMEOUT, MAX_FETCHES, MAX_MODULE_SIZE, PULL_POLICY, REGISTRY_ALLOW, REGISTRY_AUTH_FILE,
    REGISTRY_CA_CERT, REGISTRY_CLIENT_CERT, REGISTRY_CLIENT_KEY, REGISTRY_IDENTITY_TOKEN, REGISTRY_MIRRORS,
    REGISTRY_PASSWORD, REGISTRY_TOKEN, REGISTRY_TOKEN_SERVICES, REGISTRY_URL, REGISTRY_USERNAME, TAG_TTL, VERIFY_KEY,
};
use crate::oci::options::{Credentials, RegistryOptions};
use crate::oci::registry::DockerConfig;
use crate::read_fields;

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
