//! The path of one request: which endpoint, how many attempts, with which authorization. [`Transport::send`] goes on
//! with redirects, egress rules and timeouts, and [`Body`] bounds what is read.
//!
//! [`Transport::send`]: super::transport::Transport::send
//! [`Body`]: super::response::Body

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;
use tracing::warn;

use super::authorizations::Access;
use super::call::Call;
use super::challenge::Challenge;
use super::client::Registry;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::repository::Repository;
use super::response::success;
use crate::error::Error;
use crate::oci::reference::Reference;
use crate::util::metrics;

/// How long a mirror is skipped after it did not answer.
#[doc(alias = "bound")]
const MIRROR_PAUSE: Duration = Duration::from_secs(30);

impl Repository<'_> {
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
            let mut fetch = OpenFetch { repository: self, endpoint, outcome: None };
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

impl Registry {
    /// Sends a call with the authorization that the endpoint accepted last, and once more if it answers with a
    /// challenge.
    pub(super) async fn send(
        &self,
        reference: &Reference,
        endpoint: &Endpoint,
        access: Access,
        call: &Call,
    ) -> Result<Response, Failure> {
        let Self { transport, policy, authorizations, .. } = self;
        let response = transport.send(call, authorizations.get(endpoint, access).as_ref()).await?;
        // A challenge from another origin, after a redirect, is not the registry's, and gets no credentials.
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != call.url.origin() {
            return Ok(response);
        }
        authorizations.remove(endpoint, access);
        let challenge = Challenge { transport, policy, reference, endpoint, access };
        let authorization = challenge.answer(response).await?;
        authorizations.insert(endpoint, access, authorization.clone());
        let response = transport.send(call, Some(&authorization.header)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            authorizations.remove(endpoint, access);
        }
        Ok(response)
    }
}

/// A fetch at one endpoint. It is counted also if it is dropped before its end.
struct OpenFetch<'a> {
    repository: &'a Repository<'a>,
    endpoint: &'a Endpoint,
    /// `ok` or an error code.
    outcome: Option<&'static str>,
}

impl Drop for OpenFetch<'_> {
    fn drop(&mut self) {
        let Repository { registry, deadline, .. } = self.repository;
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let outcome = self.outcome.unwrap_or(if is_late { "registry-unreachable" } else { "withdrawn" });
        metrics::fetches(registry.label(self.endpoint), outcome).increment(1);
    }
}
