//! The authorizations that endpoints have accepted, until they expire.

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;

use super::endpoint::Endpoint;
use crate::oci::digest::Digest;
use crate::oci::options::Credentials;
use crate::util::ttl_cache::TtlCache;

/// How long an authorization is used that does not expire earlier.
#[doc(alias = "bound")]
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Authorizations that are cached.
#[doc(alias = "bound")]
const MAX_AUTHORIZATIONS: usize = 1024;

/// The purpose of a request, which its authorization has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Pull,
    Push,
    /// The credentials are checked and nothing else.
    Login,
}

/// A value of `Authorization`, and when it expires.
#[derive(Clone)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    pub(super) expires: Instant,
}

/// Values of `Authorization` by registry, repository, credentials and access.
#[derive(Debug)]
pub(super) struct Authorizations(TtlCache<Key, HeaderValue>);

type Key = (String, String, Digest, Access);

impl Default for Authorizations {
    fn default() -> Self {
        Self(TtlCache::new(MAX_AUTHORIZATIONS))
    }
}

impl Authorizations {
    pub(super) fn get(&self, endpoint: &Endpoint, access: Access) -> Option<HeaderValue> {
        self.0.get(&key(endpoint, access))
    }

    pub(super) fn insert(&self, endpoint: &Endpoint, access: Access, authorization: Authorization) {
        self.0.insert(key(endpoint, access), authorization.header, authorization.expires);
    }

    pub(super) fn remove(&self, endpoint: &Endpoint, access: Access) {
        self.0.remove(&key(endpoint, access));
    }
}

fn key(endpoint: &Endpoint, access: Access) -> Key {
    (endpoint.host.clone(), endpoint.repository.clone(), fingerprint(&endpoint.credentials), access)
}

/// Distinguishes credentials without holding them.
pub(super) fn fingerprint(credentials: &Credentials) -> Digest {
    let (kind, name, secret) = match credentials {
        Credentials::Anonymous => return Digest::of(&[]),
        Credentials::Basic { username, password } => ("basic", username.as_str(), password),
        Credentials::Token(token) => ("token", "", token),
        Credentials::Identity(token) => ("identity", "", token),
    };
    Digest::of(format!("{kind}\0{name}\0{}", secret.expose_secret()).as_bytes())
}
