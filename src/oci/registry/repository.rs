//! A repository, and what each request to it begins with: which endpoint, and how many attempts. [`Registry::send`] goes
//! on with the authorization.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;
use tracing::warn;

use super::call::Call;
use super::client::Registry;
use super::credentials::fingerprint;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::offers::Access;
use super::peer::Mark;
use super::response::success;
use crate::error::Error;
use crate::oci::options::Mirror;
use crate::oci::reference::Reference;
use crate::util::fair::Party;
use crate::util::metrics;

/// How long a mirror is skipped after it did not answer.
#[doc(alias = "bound")]
const MIRROR_PAUSE: Duration = Duration::from_secs(30);

/// A repository of a registry, and of its mirrors.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    pub(super) registry: &'a Registry,
    pub(super) reference: &'a Reference,
    /// In the order in which they are tried, before the origin.
    mirrors: Vec<Endpoint>,
    pub(super) origin: Endpoint,
    /// For whom it is used.
    pub(super) party: Party,
    /// Requests that are dropped after it are counted as unanswered, earlier ones as withdrawn.
    pub(crate) deadline: Option<Instant>,
}

impl Registry {
    /// The repository of `reference`, for `party`. Connects to nothing.
    ///
    /// # Errors
    /// [`Error::Denied`] if the policy does not permit it, [`Error::Credentials`] if the docker configuration file or a
    /// helper fails.
    pub(crate) async fn repository<'a>(
        &'a self,
        reference: &'a Reference,
        party: Party,
    ) -> Result<Repository<'a>, Error> {
        self.policy.permit(reference)?;
        let Reference { registry, repository, .. } = reference;
        let mut mirrors = Vec::new();
        for Mirror { url, .. } in self.mirrors.iter().filter(|mirror| mirror.registry == *registry) {
            let repository = [url.prefix.as_str(), repository].join("/").trim_start_matches('/').to_owned();
            let credentials = self.credentials.find(&url.host, &repository).await?;
            let (host, peer, scheme) = (url.host.clone(), self.peers.of(&url.host), url.scheme);
            mirrors.push(Endpoint { host, peer, scheme, repository, credentials, is_mirror: true });
        }
        let origin = Endpoint {
            host: registry.clone(),
            peer: self.peers.of(registry),
            scheme: self.policy.scheme(registry),
            repository: repository.clone(),
            credentials: self.credentials.find(registry, repository).await?,
            is_mirror: false,
        };
        Ok(Repository { registry: self, reference, mirrors, origin, party, deadline: None })
    }
}

impl Repository<'_> {
    /// Differs between registries, and between credentials for one.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let identity = |Endpoint { host, scheme, credentials, .. }: &Endpoint| {
            let certificate = self.registry.certificate.as_ref().filter(|(owner, _)| owner == host);
            format!("{scheme}://{host} {} {certificate:?}\n", fingerprint(credentials))
        };
        self.mirrors.iter().chain([&self.origin]).map(identity).collect::<String>().into_bytes()
    }

    /// The result of the first mirror that succeeds, else of the registry itself, with retries there. Each endpoint is
    /// counted.
    pub(super) async fn first<'a, T, F>(&'a self, attempt: impl Fn(&'a Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let skipped = &self.registry.skipped_mirrors;
        let mut mirrors = self.mirrors.iter().filter(|mirror| skipped.get(&mirror.host).is_none());
        loop {
            let endpoint = mirrors.next().unwrap_or(&self.origin);
            let mut fetch = OpenFetch { repository: self, endpoint, mark: endpoint.peer.mark(), outcome: None };
            let result = endpoint.retries().run(|| attempt(endpoint)).await;
            fetch.outcome = Some(result.as_ref().map_or_else(Error::code, |_| "ok"));
            drop(fetch);
            match result {
                Err(error) if endpoint.is_mirror => {
                    warn!(mirror = endpoint.host, code = error.code(), "the mirror does not help: {error}");
                    if matches!(error, Error::RegistryUnreachable { .. }) {
                        skipped.insert(endpoint.host.clone(), (), std::time::Instant::now() + MIRROR_PAUSE);
                    }
                }
                result => return result,
            }
        }
    }

    /// Sends a call that reads. Its response is a success, or shows that the registry does not support ranges or
    /// `HEAD`.
    pub(super) async fn read(&self, endpoint: &Endpoint, call: &Call) -> Result<Response, Failure> {
        let response = self.registry.send(self.reference, endpoint, Access::Pull, call).await?;
        let is_unsupported = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => call.has_range(),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => call.method == Method::HEAD,
            _ => false,
        };
        if is_unsupported { Ok(response) } else { success(self.reference, response).await }
    }
}

/// A fetch at one endpoint. It is counted also if it is dropped before its end.
struct OpenFetch<'a> {
    repository: &'a Repository<'a>,
    endpoint: &'a Endpoint,
    /// What the endpoint had answered when it began.
    mark: Mark,
    /// `ok` or an error code.
    outcome: Option<&'static str>,
}

impl Drop for OpenFetch<'_> {
    fn drop(&mut self) {
        let Repository { registry, deadline, .. } = self.repository;
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let outcome = self.outcome.unwrap_or(if is_late { "registry-unreachable" } else { "withdrawn" });
        if !matches!(outcome, "ok" | "withdrawn") {
            registry.peers.given_up(&self.endpoint.host, &self.endpoint.peer, self.mark);
        }
        metrics::fetches(registry.label(self.endpoint), outcome).increment(1);
    }
}
