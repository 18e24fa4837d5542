//! Whether the configured registry is there and takes the credentials (OCI distribution specification, "Determining
//! Support").

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http_auth::ChallengeRef;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};

use super::auth::Access;
use super::retry::Failure;
use super::transport::{self, Call};
use super::{Endpoint, Registry, Repository, contact};
use crate::error::Error;
use crate::oci::host::RegistryUrl;
use crate::oci::options::Credentials;
use crate::oci::reference::{Reference, Version};

impl Registry {
    /// Asks the registry at `url` for the version of its API, once and with the credentials for it, and returns what it
    /// answers, in words.
    ///
    /// # Errors
    /// [`Error::RegistryUnreachable`], [`Error::RegistryAnswer`], [`Error::Unauthorized`], [`Error::Denied`] if it leads to a
    /// token service that is not trusted, [`Error::Credentials`].
    pub async fn check(&self, url: &RegistryUrl) -> Result<String, Error> {
        let RegistryUrl { scheme, host, prefix, .. } = url;
        let api = contact::root(url)?;
        let call = Call::new(Method::GET, api.clone());
        let origin = Endpoint {
            host: host.clone(),
            scheme: *scheme,
            repository: prefix.clone(),
            credentials: self.keychain.find(host, prefix).await?,
            mirror: false,
        };
        let is_anonymous = matches!(origin.credentials, Credentials::Anonymous);
        let (registry, repository, version) = (host.clone(), prefix.clone(), Version::Tag(String::new()));
        let reference = Reference { registry, repository, version, selector: None };
        let asked = Repository {
            registry: self,
            reference: &reference,
            mirrors: Vec::new(),
            origin,
            progress: Arc::default(),
            is_late: AtomicBool::default(),
        };

        let send = |authorization: Option<HeaderValue>| {
            let call = &call;
            async move { self.transport.send(call, authorization.as_ref()).await }
        };
        let answered = async {
            if !is_anonymous {
                let response = asked.authorized(&asked.origin, Access::Login, &call, send).await?;
                return transport::success(&reference, response).await.map(Some);
            }
            let response = send(None).await?;
            if response.status() == StatusCode::UNAUTHORIZED && wants_tokens(&response) {
                return Ok(None);
            }
            transport::success(&reference, response).await.map(Some)
        };
        let response = answered.await.map_err(|failure: Failure| match failure.into() {
            Error::Unauthorized { detail, .. } => Error::Unauthorized { reference: host.clone(), detail },
            Error::UnknownImage { detail, .. } => {
                let detail = format!("404 Not Found{detail}; there is no registry at this address");
                Error::RegistryAnswer { object: api.to_string(), detail }
            }
            error => error,
        })?;
        Ok(match response {
            // Whether it hands some out to everybody, it says for each repository.
            None => format!("{api} answers, and wants a token for each repository; no credentials are given"),
            Some(response) if is_anonymous => format!("{api} answers {}", response.status()),
            Some(response) => format!("{api} answers {} to these credentials", response.status()),
        })
    }
}

/// Whether a refusal asks for a bearer token.
fn wants_tokens(refusal: &Response) -> bool {
    let headers = refusal.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let is_bearer = |challenge: &ChallengeRef<'_>| challenge.scheme.eq_ignore_ascii_case("Bearer");
    headers
        .filter_map(|header| http_auth::parse_challenges(header).ok())
        .flatten()
        .any(|challenge| is_bearer(&challenge))
}
