//! The options of registries: addresses, credentials, permissions, limits.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use secrecy::SecretString;

use crate::oci::host::{RegistryUrl, Scheme, authority, canonical_host, full_repository};
use crate::oci::name::is_repository;
use crate::tls::ClientIdentity;
use crate::util::authority::split_authority;

/// The options of all registries.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// The registry that short names resolve against.
    pub url: RegistryUrl,
    /// The credentials for this registry.
    pub credentials: Credentials,
    /// The docker configuration file with credentials for other registries; `None` if no credentials may be sent.
    pub auth_file: Option<PathBuf>,
    /// What requests may name beside this registry.
    pub allow: Vec<Permission>,
    /// Token services on other hosts than their registries.
    pub token_services: Vec<TokenService>,
    /// Mirrors, in the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// Certificate authorities beside the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The client certificate for this registry.
    pub client_identity: Option<ClientIdentity>,
    /// Keys of which one must have signed a module; empty if signatures are not required.
    pub verify_keys: Vec<SubjectPublicKeyInfoDer<'static>>,
    /// When the registry is requested, and when the store is enough.
    pub pull_policy: PullPolicy,
    /// How long the digest of a tag is cached.
    pub tag_ttl: Duration,
    /// How long resolving and fetching one module may take.
    pub fetch_timeout: Duration,
    /// Largest module, and largest layer before and after it is unpacked, bytes.
    pub max_module_size: u64,
    /// Lookups, and transfers, at once at each registry.
    pub max_fetches: usize,
}

/// Credentials for a registry.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// None: public repositories only.
    Anonymous,
    /// A user name and password, given to the registry (Basic) or to its token service (Bearer).
    Basic {
        /// The user name.
        username: String,
        /// The password or access token that stands for it.
        password: SecretString,
    },
    /// A bearer token that is sent to the registry unchanged.
    Token(SecretString),
    /// An `OAuth2` refresh token, for which the token service grants access tokens.
    Identity(SecretString),
}

/// What the allow-list permits requests to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Any registry with a public address.
    AnyPublic,
    /// Repositories of one registry.
    Registry {
        /// Its URL scheme.
        scheme: Scheme,
        /// `host[:port]` in lower case.
        host: String,
        /// Which of them.
        repositories: Repositories,
    },
}

/// Repositories of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repositories {
    /// All of them.
    All,
    /// Those that begin with this and a slash.
    Under(String),
    /// This one.
    One(String),
}

impl Repositories {
    /// Whether `repository` is one of them.
    #[must_use]
    pub fn contain(&self, repository: &str) -> bool {
        match self {
            Self::All => true,
            Self::Under(prefix) => repository.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('/')),
            Self::One(one) => repository == one,
        }
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "*" {
            return Ok(Self::AnyPublic);
        }
        let (scheme, host, path) = authority(text)?;
        let repositories = match path.strip_suffix('*').map(|path| path.strip_suffix('/').unwrap_or(path)) {
            None if path.is_empty() => Repositories::All,
            Some("") => Repositories::All,
            Some(prefix) if path.ends_with("/*") && is_repository(prefix) => Repositories::Under(prefix.to_owned()),
            None if is_repository(path) => Repositories::One(full_repository(&host, path)),
            _ => return Err(()),
        };
        Ok(Self::Registry { scheme, host, repositories })
    }
}

/// A token service that serves a registry on another host or port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenService {
    /// The registry, `host[:port]`.
    pub registry: String,
    /// The service, `host[:port]`.
    pub host: String,
}

impl FromStr for TokenService {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (registry, host) = text.split_once('=').ok_or(())?;
        let host = host.to_ascii_lowercase();
        split_authority(registry).and(split_authority(&host)).ok_or(())?;
        Ok(Self { registry: canonical_host(registry), host })
    }
}

/// A registry with the content of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The mirrored registry, `host[:port]`.
    pub registry: String,
    /// The mirror; its prefix precedes the repository.
    pub url: RegistryUrl,
}

impl FromStr for Mirror {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (registry, url) = text.split_once('=').ok_or(())?;
        split_authority(registry).ok_or(())?;
        Ok(Self { registry: canonical_host(registry), url: url.parse()? })
    }
}

/// When the registry is requested, and when the store is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// The registry confirms every request.
    Always,
    /// Content by digest comes from the store if it is there; so do tags while the registry cannot be reached.
    IfNotPresent,
    /// The store only.
    Never,
}

impl FromStr for PullPolicy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "always" => Self::Always,
            "if-not-present" => Self::IfNotPresent,
            "never" => Self::Never,
            _ => return Err(()),
        })
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl RegistryOptions {
    /// Options of a registry without credentials, with the defaults of the settings.
    pub(crate) fn for_tests(url: &str) -> Self {
        Self {
            url: url.parse().unwrap(),
            credentials: Credentials::Anonymous,
            auth_file: None,
            allow: Vec::new(),
            token_services: Vec::new(),
            mirrors: Vec::new(),
            ca_certificates: Vec::new(),
            client_identity: None,
            verify_keys: Vec::new(),
            pull_policy: PullPolicy::IfNotPresent,
            tag_ttl: Duration::ZERO,
            fetch_timeout: Duration::from_secs(300),
            max_module_size: 1 << 30,
            max_fetches: 8,
        }
    }
}

#[cfg(test)]
impl RegistryOptions {
    /// The same, with an allow-list.
    pub(crate) fn allow(self, allow: &str) -> Self {
        let entries = allow.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Self { allow: entries.map(|entry| entry.parse().unwrap()).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_name_registries_and_repositories() {
        for (text, host, permitted, refused) in [
            ("ghcr.io", "ghcr.io", vec!["a", "a/b"], vec![]),
            ("GHCR.io:443/*", "ghcr.io", vec!["a", "a/b"], vec![]),
            ("ghcr.io/acme/*", "ghcr.io", vec!["acme/a", "acme/a/b"], vec!["acme", "acmeevil/a", "other/a"]),
            ("ghcr.io/acme/add", "ghcr.io", vec!["acme/add"], vec!["acme/add/x", "acme/addx"]),
            ("docker.io/add", "docker.io", vec!["library/add"], vec!["add"]),
            ("http://registry:5000", "registry:5000", vec!["a"], vec![]),
            ("[::1]:5000", "[::1]:5000", vec!["a"], vec![]),
        ] {
            let Ok(Permission::Registry { host: actual, repositories, .. }) = text.parse() else { panic!("{text}") };
            assert_eq!(actual, host, "{text}");
            assert!(permitted.iter().all(|repository| repositories.contain(repository)), "{text}");
            assert!(!refused.iter().any(|repository| repositories.contain(repository)), "{text}");
        }
        assert_eq!("*".parse(), Ok(Permission::AnyPublic));
        for text in ["", "/a", "ghcr.io/acme*", "ghcr.io/*/a", "*.ghcr.io", "ftp://a", "u:p@a", "a/B", "a b"] {
            assert!(text.parse::<Permission>().is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_name_a_registry_and_its_helper() {
        let mirror: Mirror = "docker.io=http://mirror:5000/hub".parse().unwrap();
        assert_eq!((mirror.registry.as_str(), mirror.url.to_string().as_str()), ("docker.io", "mirror:5000/hub"));
        assert_eq!(mirror.url.scheme, Scheme::Http);
        assert!("r.example=auth.example:8443".parse::<TokenService>().is_ok());
        for text in ["", "a", "=a", "a=", "a=b=c", "a=u@b", "a=b/c"] {
            assert!(text.parse::<TokenService>().is_err(), "{text}");
        }
        for text in ["", "a", "=a", "a=", "a=b=c", "a=u@b", "a=b/C", "a=b,c"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }
}
