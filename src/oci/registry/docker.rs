//! Docker's configuration file, as docker, podman and oras write it: credentials for any number of registries.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::{Detail, printable};
use crate::oci::host::{DOCKER_HUB, canonical_host};
use crate::oci::options::Credentials;
use crate::util::file::read_small;

/// Largest docker configuration file that is read, bytes.
#[doc(alias = "bound")]
const MAX_FILE_SIZE: u64 = 1 << 20;
/// The user name that marks a password as an identity token.
const IDENTITY_USERNAME: &str = "<token>";

/// The part of the file that is about credentials. It is in order, so that of two names of one registry the same one is
/// taken each time.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    credentials_store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    credential_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<SecretString>,
    #[serde(rename = "registrytoken")]
    registry_token: Option<SecretString>,
}

/// Where the credentials for a repository are.
#[derive(Debug)]
pub(crate) enum CredentialSource {
    /// The file; anonymous, if it has none.
    File(Credentials),
    /// The program `docker-credential-{helper}`.
    Helper {
        helper: String,
        /// Its name of the registry.
        server: String,
    },
}

impl DockerConfig {
    /// Reads a file; the error is the rest of a sentence that begins with the file's name.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&read_small(path, MAX_FILE_SIZE).map_err(|error| format!("cannot be read ({error})"))?)
    }

    /// Parses the content of a file; the error is as that of [`DockerConfig::read`].
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        // The parser's message may quote a secret.
        let config: Self = serde_json::from_slice(json)
            .map_err(|error| format!("is not a docker configuration (line {})", error.line()))?;
        for (server, entry) in &config.auths {
            let shown = printable(server, Detail::MAX_CHARS);
            entry.credentials().map_err(|()| format!("holds unreadable credentials for {shown:?}"))?;
        }
        Ok(config)
    }

    /// The source of the credentials of a repository: a helper for the registry, then the entry with the longest name
    /// that covers the repository, then the helper for all registries.
    pub(crate) fn find(&self, host: &str, repository: &str) -> CredentialSource {
        let helper =
            self.credential_helpers.iter().find(|(server, _)| registry_and_namespace(server) == (host.to_owned(), ""));
        if let Some((server, helper)) = helper {
            return CredentialSource::Helper { helper: helper.clone(), server: server.clone() };
        }
        let covers = |namespace: &str| {
            namespace.is_empty()
                || repository.strip_prefix(namespace).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let entries = self.auths.iter().filter_map(|(server, entry)| {
            let (registry, namespace) = registry_and_namespace(server);
            let credentials = entry.credentials().ok().flatten()?;
            (registry == host && covers(namespace)).then_some((namespace.len(), credentials))
        });
        if let Some((_, credentials)) = entries.max_by_key(|(length, _)| *length) {
            return CredentialSource::File(credentials);
        }
        match &self.credentials_store {
            Some(helper) => {
                let server = if host == DOCKER_HUB { "https://index.docker.io/v1/" } else { host };
                CredentialSource::Helper { helper: helper.clone(), server: server.to_owned() }
            }
            None => CredentialSource::File(Credentials::Anonymous),
        }
    }
}

impl Entry {
    /// The credentials in the entry; an empty one shows that a helper has them.
    fn credentials(&self) -> Result<Option<Credentials>, ()> {
        fn given(secret: Option<&SecretString>) -> Option<&SecretString> {
            secret.filter(|secret| !secret.expose_secret().is_empty())
        }
        if let Some(token) = given(self.registry_token.as_ref()) {
            return Ok(Some(Credentials::Token(token.clone())));
        }
        if let Some(token) = given(self.identity_token.as_ref()) {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let Some(auth) = given(self.auth.as_ref()) {
            let text = base64_simd::STANDARD.decode_to_vec(auth.expose_secret()).map_err(drop)?;
            let text = String::from_utf8(text).map_err(drop)?;
            let (username, password) = text.trim_end_matches('\0').split_once(':').ok_or(())?;
            return Ok(Some(login(username, password)));
        }
        Ok(self.username.as_ref().zip(self.password.as_ref()).map(|(name, word)| login(name, word.expose_secret())))
    }
}

/// A user name and password, or the identity token that they stand for.
pub(crate) fn login(username: &str, password: &str) -> Credentials {
    if username == IDENTITY_USERNAME {
        Credentials::Identity(password.into())
    } else {
        Credentials::Basic { username: username.to_owned(), password: password.into() }
    }
}

/// The registry and namespace that a key means: `host`, `host/namespace`, or `https://host/v1/`.
fn registry_and_namespace(key: &str) -> (String, &str) {
    let name = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (host, namespace) = name.split_once('/').unwrap_or((name, ""));
    (canonical_host(host), if matches!(namespace, "v1" | "v2") { "" } else { namespace })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(config: &str, host: &str, repository: &str) -> String {
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        match config.find(host, repository) {
            CredentialSource::File(Credentials::Basic { username, password }) => {
                format!("{username}:{}", password.expose_secret())
            }
            CredentialSource::File(Credentials::Identity(token)) => format!("identity {}", token.expose_secret()),
            CredentialSource::File(Credentials::Token(token)) => format!("token {}", token.expose_secret()),
            CredentialSource::Helper { helper, server } => format!("{helper} {server}"),
            CredentialSource::File(Credentials::Anonymous) => "nothing".into(),
        }
    }

    #[test]
    fn the_nearest_entry_is_found() {
        let auths = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YWRhOjE4MTU="},
            "r.example": {"username": "all", "password": "p"},
            "r.example/team": {"username": "team", "password": "p"},
            "identity.example": {"identitytoken": "i"},
            "token.example": {"registrytoken": "t", "auth": ""},
            "empty.example": {}
        }, "credHelpers": {"helped.example": "own"}, "credsStore": "store"}"#;
        for (host, repository, expected) in [
            ("docker.io", "library/add", "ada:1815"),
            ("r.example", "add", "all:p"),
            ("r.example", "teams/add", "all:p"),
            ("r.example", "team/add", "team:p"),
            ("r.example", "team", "team:p"),
            ("identity.example", "add", "identity i"),
            ("token.example", "add", "token t"),
            ("empty.example", "add", "store empty.example"),
            ("helped.example", "add", "own helped.example"),
            ("other.example", "add", "store other.example"),
        ] {
            assert_eq!(found(auths, host, repository), expected, "{host}/{repository}");
        }
        assert_eq!(found("{}", "r.example", "add"), "nothing");
    }

    #[test]
    fn of_two_names_of_one_registry_the_same_is_taken_each_time() {
        let config = r#"{"auths": {"r.example": {"username": "a", "password": "p"},
            "r.example/v1/": {"username": "b", "password": "p"}, "https://r.example": {"username": "c", "password": "p"}},
            "credHelpers": {"h.example/": "two", "h.example": "one"}}"#;
        for _ in 0..20 {
            assert_eq!(found(config, "r.example", "add"), "b:p");
            assert_eq!(found(config, "h.example", "add"), "one h.example");
        }
    }

    #[test]
    fn the_error_of_an_unreadable_file_has_no_secrets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["canary", r#"{"auths": {"r.example": {"auth": "canary"}}}"#, r#"{"auths": "canary"}"#] {
            fs::write(file.path(), text).unwrap();
            let reason = DockerConfig::read(file.path()).unwrap_err();
            assert!(!reason.contains("canary"), "{reason}");
        }
    }
}
