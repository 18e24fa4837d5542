//! The client: what all requests to registries share.

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::timeout;

use super::call::Call;
use super::challenge::{Authorization, Challenge};
use super::credentials::{CredentialStore, fingerprint};
use super::endpoint::{Endpoint, root};
use super::failure::Failure;
use super::offers::{Access, Offers};
use super::peer::{Kind, Peers, Place};
use super::response::success;
use super::transport::{CONNECT_TIMEOUT, Contact, Transport, outcome};
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::host::RegistryUrl;
use crate::oci::options::{Credentials, Mirror, RegistryOptions};
use crate::oci::policy::Policy;
use crate::oci::reference::{Reference, Version};
use crate::util::fair::Party;
use crate::util::metrics;
use crate::util::sync::lock;
use crate::util::ttl_cache::TtlCache;

/// Authorizations that are cached.
#[doc(alias = "bound")]
const MAX_AUTHORIZATIONS: usize = 1024;
/// How long a ping of the registry waits for a response.
#[doc(alias = "bound")]
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a registry may take to accept credentials, or not to.
#[doc(alias = "bound")]
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// The client of all registries.
#[derive(Debug)]
pub struct Registry {
    transport: Transport,
    pub(super) policy: Policy,
    pub(super) credentials: CredentialStore,
    /// What endpoints accepted last, by registry, repository, [`fingerprint`] of the credentials, and access.
    authorizations: TtlCache<(String, String, Digest, Access), HeaderValue>,
    pub(super) mirrors: Vec<Mirror>,
    /// Mirrors that did not answer, and are skipped for a while.
    pub(super) skipped_mirrors: TtlCache<String, ()>,
    /// The registry that is shown the client certificate, and its digest.
    pub(super) certificate: Option<(String, Digest)>,
    pub(super) peers: Peers,
    /// The configured registry's API.
    root: Option<Url>,
}

impl Registry {
    /// A client that keeps to the policy of these options.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable.
    pub fn new(options: &RegistryOptions) -> Result<Self, Error> {
        let policy = Policy::new(options);
        Ok(Self {
            transport: Transport::new(options, policy.clone())?,
            policy,
            credentials: CredentialStore::new(options),
            authorizations: TtlCache::new(MAX_AUTHORIZATIONS),
            mirrors: options.mirrors.clone(),
            skipped_mirrors: TtlCache::new(options.mirrors.len()),
            certificate: options.client_identity.as_ref().map(|identity| {
                let chain: Vec<u8> = identity.chain.iter().flat_map(AsRef::as_ref).copied().collect();
                (options.url.host.clone(), Digest::of(&chain))
            }),
            peers: Peers::new(options.max_fetches),
            root: root(&options.url).ok(),
        })
    }

    /// Sends a call with the authorization that the endpoint accepted last, and once more if it answers with a
    /// challenge. [`Transport::send`] goes on with redirects, egress rules and timeouts.
    pub(super) async fn send(
        &self,
        reference: &Reference,
        endpoint: &Endpoint,
        access: Access,
        call: &Call,
    ) -> Result<Response, Failure> {
        let Self { transport, policy, authorizations, .. } = self;
        let credentials = fingerprint(&endpoint.credentials);
        let key = (endpoint.host.clone(), endpoint.repository.clone(), credentials, access);
        let response = self.answer(endpoint, call, authorizations.get(&key).as_ref()).await?;
        // A challenge from another origin, after a redirect, is not the registry's, and gets no credentials.
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != call.url.origin() {
            return Ok(response);
        }
        authorizations.remove(&key);
        let challenge = Challenge { transport, policy, reference, endpoint, access };
        let Authorization { header, expires } = challenge.answer(response).await?;
        authorizations.insert(key.clone(), header.clone(), expires);
        let response = transport.send(call, Some(&header), || ()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            authorizations.remove(&key);
        }
        Ok(response)
    }

    /// Sends a call, and notes whether the endpoint's host answered or was silent. A redirect is an answer, wherever it leads.
    async fn answer(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let (begun, mut has_answered) = (Instant::now(), false);
        let answered = || {
            has_answered = true;
            self.peers.answered(&endpoint.host, &endpoint.peer);
        };
        let result = self.transport.send(call, authorization, answered).await;
        if !has_answered && begun.elapsed() >= CONNECT_TIMEOUT {
            endpoint.peer.silent();
        }
        result
    }

    /// Refuses a reference that the policy does not permit.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub(crate) fn permit(&self, reference: &Reference) -> Result<(), Error> {
        self.policy.permit(reference)
    }

    /// Waits for a place at the endpoint's host, in turn with other parties.
    ///
    /// # Errors
    /// [`Error::RegistryUnreachable`] if the host rests.
    pub(super) async fn place(&self, endpoint: &Endpoint, kind: Kind, party: &Party) -> Result<Place, Failure> {
        self.peers.place(&endpoint.host, self.names(endpoint), &endpoint.peer, kind, party).await
    }

    /// The endpoint's value of the label `registry` in metrics: its host, if the operator named it.
    pub(super) fn label<'a>(&self, endpoint: &'a Endpoint) -> &'a str {
        if self.names(endpoint) { &endpoint.host } else { metrics::OTHER_REGISTRY }
    }

    /// Whether the operator named the endpoint.
    fn names(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_mirror || self.policy.names(&endpoint.host)
    }

    /// The last contact with the configured registry; `None` before the first exchange.
    pub(crate) fn last_contact(&self) -> Option<Contact> {
        lock(&self.transport.last_contact).clone()
    }

    /// Requests `/v2/` of the configured registry, without credentials (OCI distribution specification, "Determining
    /// Support"). The outcome is the last contact then; it comes within 5 s.
    pub(crate) async fn ping(&self) -> Contact {
        let outcome = match &self.root {
            None => Err("its address is no URL".to_owned()),
            Some(root) => {
                let call = Call::new(Method::GET, root.clone());
                let answered = timeout(PING_TIMEOUT, self.transport.send(&call, None, || ())).await;
                answered.map_or_else(
                    |_| Err(format!("it was silent for {} s", PING_TIMEOUT.as_secs())),
                    |result| outcome(&result),
                )
            }
        };
        if outcome.is_ok() {
            self.peers.wake(&self.policy.registry().host);
        }
        self.transport.record(outcome)
    }

    /// Whether the registry at `url` answers and accepts the credentials for it (OCI distribution specification,
    /// "Determining Support"). Requests the version of its API, once. Returns the answer in words.
    ///
    /// # Errors
    /// [`Error::RegistryUnreachable`], [`Error::RegistryAnswer`], [`Error::Unauthorized`], [`Error::Denied`] if it
    /// names a token service that is not trusted, [`Error::Credentials`].
    pub async fn check(&self, url: &RegistryUrl) -> Result<String, Error> {
        let RegistryUrl { scheme, host, prefix, .. } = url;
        let api = root(url)?;
        let credentials = self.credentials.find(host, prefix).await?;
        let is_anonymous = matches!(credentials, Credentials::Anonymous);
        let (peer, repository) = (self.peers.of(host), prefix.clone());
        let endpoint =
            Endpoint { host: host.clone(), peer, scheme: *scheme, repository, credentials, is_mirror: false };

        let call = Call::read(Method::GET, api.clone());
        let answered = timeout(CHECK_TIMEOUT, self.check_endpoint(&endpoint, &call)).await.unwrap_or_else(|_| {
            let detail = format!("it took longer than {} s", CHECK_TIMEOUT.as_secs());
            Err(Error::RegistryUnreachable { object: api.to_string(), detail }.into())
        });
        let response = answered.map_err(|failure| match failure.into() {
            Error::Unauthorized { detail, .. } => Error::Unauthorized { reference: endpoint.host, detail },
            Error::UnknownImage { detail, .. } => {
                let detail = format!("404 Not Found{detail}; there is no registry at this address");
                Error::RegistryAnswer { object: api.to_string(), detail }
            }
            error => error,
        })?;
        Ok(match response {
            // Which repositories it permits everybody to pull, it says in the challenge for each.
            None => format!("{api} answers, and wants a token for each repository; no credentials are given"),
            Some(response) if is_anonymous => format!("{api} answers {}", response.status()),
            Some(response) => format!("{api} answers {} to these credentials", response.status()),
        })
    }

    /// The successful response; `None` if there are no credentials and it is a challenge for a token.
    async fn check_endpoint(&self, endpoint: &Endpoint, call: &Call) -> Result<Option<Response>, Failure> {
        let Endpoint { host, repository, .. } = endpoint;
        let (registry, repository, version) = (host.clone(), repository.clone(), Version::Tag(String::new()));
        let reference = Reference { registry, repository, version, selector: None };
        if !matches!(endpoint.credentials, Credentials::Anonymous) {
            let response = self.send(&reference, endpoint, Access::Login, call).await?;
            return success(&reference, response).await.map(Some);
        }
        let response = self.transport.send(call, None, || ()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && Offers::of(response.headers()).bearer.is_some() {
            return Ok(None);
        }
        success(&reference, response).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_ping_is_the_last_contact_whatever_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = RegistryOptions::for_tests(&listener.local_addr().unwrap().to_string());
        let registry = Registry::new(&options).unwrap();
        assert_eq!(registry.last_contact(), None);
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "it ends early");
            }
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8(request).unwrap()
        };
        let (contact, request) = tokio::join!(registry.ping(), answering);
        assert!(request.starts_with("GET /v2/ ") && contact.outcome.is_ok(), "{contact:?} {request}");
        assert_eq!(registry.last_contact(), Some(contact.clone()));

        drop(listener);
        let later = registry.ping().await;
        assert!(later.outcome.is_err() && later.at > contact.at, "{later:?}");
        assert_eq!(registry.last_contact(), Some(later));
    }
}
