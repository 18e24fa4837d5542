//! The client: what all requests to registries share.

use std::time::Duration;

use reqwest::{Method, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::authorizations::Authorizations;
use super::call::Call;
use super::contact::{Contact, outcome};
use super::credentials::CredentialStore;
use super::endpoint::{Endpoint, root};
use super::transport::Transport;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::options::{Mirror, RegistryOptions};
use crate::oci::policy::Policy;
use crate::util::metrics;
use crate::util::ttl_cache::TtlCache;

/// How long a ping of the registry waits for a response.
#[doc(alias = "bound")]
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The client of all registries.
#[derive(Debug)]
pub struct Registry {
    pub(super) transport: Transport,
    pub(super) policy: Policy,
    pub(super) credentials: CredentialStore,
    pub(super) authorizations: Authorizations,
    pub(super) mirrors: Vec<Mirror>,
    /// Mirrors that did not answer, and are skipped for a while.
    pub(super) skipped_mirrors: TtlCache<String, ()>,
    /// The registry that is shown the client certificate, and its digest.
    pub(super) certificate: Option<(String, Digest)>,
    /// Requests for manifests at once.
    pub(super) lookups: Semaphore,
    /// Blobs that are down- or uploaded at once. Apart from the lookups: slow transfers must not delay what is stored.
    pub(super) transfers: Semaphore,
    /// The configured registry's API.
    root: Option<Url>,
}

impl Registry {
    /// A client that keeps to `policy`.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable.
    pub fn new(options: &RegistryOptions, policy: Policy) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(options, policy.clone())?,
            policy,
            credentials: CredentialStore::new(options),
            authorizations: Authorizations::default(),
            mirrors: options.mirrors.clone(),
            skipped_mirrors: TtlCache::new(options.mirrors.len()),
            certificate: options.client_identity.as_ref().map(|identity| {
                let chain: Vec<u8> = identity.chain.iter().flat_map(AsRef::as_ref).copied().collect();
                (options.url.host.clone(), Digest::of(&chain))
            }),
            lookups: Semaphore::new(options.max_fetches),
            transfers: Semaphore::new(options.max_fetches),
            root: root(&options.url).ok(),
        })
    }

    /// The last contact with the configured registry; `None` before the first exchange.
    #[must_use]
    pub fn last_contact(&self) -> Option<Contact> {
        self.transport.last_contact().get()
    }

    /// Requests `/v2/` of the configured registry, without credentials (OCI distribution specification, "Determining
    /// Support"). The outcome is the last contact then; it comes within 5 s.
    pub async fn ping(&self) -> Contact {
        let outcome = match &self.root {
            None => Err("its address is no URL".to_owned()),
            Some(root) => {
                let call = Call::new(Method::GET, root.clone());
                let answered = timeout(PING_TIMEOUT, self.transport.send(&call, None)).await;
                answered.map_or_else(
                    |_| Err(format!("it was silent for {} s", PING_TIMEOUT.as_secs())),
                    |result| outcome(&result),
                )
            }
        };
        self.transport.last_contact().record(outcome)
    }

    /// The endpoint's value of the label `registry` in metrics: its host, if the operator named it.
    pub(super) fn label<'a>(&self, endpoint: &'a Endpoint) -> &'a str {
        if endpoint.is_mirror || self.policy.names(&endpoint.host) { &endpoint.host } else { metrics::OTHER_REGISTRY }
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
        let registry = Registry::new(&options, Policy::new(&options)).unwrap();
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
