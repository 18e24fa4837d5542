//! The places that serve a repository.

use std::sync::Arc;

use reqwest::Url;

use super::peer::Peer;
use super::retry::RetryBudget;
use crate::error::Error;
use crate::oci::host::{RegistryUrl, Scheme, api_host};
use crate::oci::options::Credentials;

/// A repository at its registry, or at a mirror.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// `host[:port]` as references have it.
    pub(super) host: String,
    pub(super) peer: Arc<Peer>,
    pub(super) scheme: Scheme,
    /// The repository's name there.
    pub(super) repository: String,
    pub(super) credentials: Credentials,
    pub(super) is_mirror: bool,
}

impl Endpoint {
    /// The URL of an object such as `blobs/sha256:…`.
    pub(super) fn url(&self, object: &str) -> Result<Url, Error> {
        api_url(self.scheme, &self.host, &format!("{}/{object}", self.repository))
    }

    /// The retries of one fetch: none at a mirror, because the next endpoint has the same content.
    pub(super) fn retries(&self) -> RetryBudget {
        if self.is_mirror { RetryBudget::none() } else { RetryBudget::default() }
    }
}

/// The URL at which a registry confirms that it is one (OCI distribution specification, "Determining Support").
///
/// # Errors
/// [`Error::RegistryUnreachable`] if its address makes no URL.
pub(super) fn root(RegistryUrl { scheme, host, .. }: &RegistryUrl) -> Result<Url, Error> {
    api_url(*scheme, host, "")
}

fn api_url(scheme: Scheme, host: &str, path: &str) -> Result<Url, Error> {
    let url = format!("{scheme}://{}/v2/{path}", api_host(host));
    Url::parse(&url).map_err(|error| Error::RegistryUnreachable { object: url, detail: error.to_string() })
}
