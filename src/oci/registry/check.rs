//! Whether a registry answers and accepts the credentials (OCI distribution specification, "Determining Support").

use http_auth::ChallengeRef;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Response, StatusCode};

use super::authorizations::Access;
use super::call::Call;
use super::client::Registry;
use super::endpoint::{Endpoint, root};
use super::failure::Failure;
use super::response::success;
use crate::error::Error;
use crate::oci::host::RegistryUrl;
use crate::oci::options::Credentials;
use crate::oci::reference::{Reference, Version};

impl Registry {
    /// Requests the version of the API at `url`, once and with the credentials for it. Returns the answer in words.
    ///
    /// # Errors
    /// [`Error::RegistryUnreachable`], [`Error::RegistryAnswer`], [`Error::Unauthorized`], [`Error::Denied`] if it
    /// names a token service that is not trusted, [`Error::Credentials`].
    pub async fn check(&self, url: &RegistryUrl) -> Result<String, Error> {
        let RegistryUrl { scheme, host, prefix, .. } = url;
        let api = root(url)?;
        let credentials = self.credentials.find(host, prefix).await?;
        let is_anonymous = matches!(credentials, Credentials::Anonymous);
        let (host, scheme, repository) = (host.clone(), *scheme, prefix.clone());
        let endpoint = Endpoint { host, scheme, repository, credentials, is_mirror: false };

        let answered = self.check_endpoint(&endpoint, &Call::read(Method::GET, api.clone())).await;
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
        let response = self.transport.send(call, None).await?;
        if response.status() == StatusCode::UNAUTHORIZED && is_bearer_challenge(&response) {
            return Ok(None);
        }
        success(&reference, response).await.map(Some)
    }
}

fn is_bearer_challenge(response: &Response) -> bool {
    let headers = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let is_bearer = |challenge: ChallengeRef<'_>| challenge.scheme.eq_ignore_ascii_case("Bearer");
    headers.filter_map(|header| http_auth::parse_challenges(header).ok()).flatten().any(is_bearer)
}
