//! Answering a registry's challenge (RFC 9110, section 11; distribution token authentication).

use std::time::{Duration, Instant};

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::call::Call;
use super::endpoint::Endpoint;
use super::failure::{Failure, redacted};
use super::offers::{Access, Offers, TokenService, authorization, basic, token_call};
use super::response::{Body, MAX_ANSWER_SIZE, success};
use super::transport::Transport;
use crate::error::{Detail, Error, Refusal};
use crate::oci::options::Credentials;
use crate::oci::policy::Policy;
use crate::oci::reference::Reference;

/// How long an authorization is used that does not expire earlier.
#[doc(alias = "bound")]
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a token lasts if its service does not say (distribution token specification, "Token Response Fields").
#[doc(alias = "bound")]
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// A value of `Authorization`, and when it expires.
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    pub(super) expires: Instant,
}

/// A challenge at an endpoint.
pub(super) struct Challenge<'a> {
    pub(super) transport: &'a Transport,
    pub(super) policy: &'a Policy,
    /// What errors name.
    pub(super) reference: &'a Reference,
    pub(super) endpoint: &'a Endpoint,
    pub(super) access: Access,
}

impl Challenge<'_> {
    /// The authorization that answers the challenge in `response`.
    pub(super) async fn answer(&self, response: Response) -> Result<Authorization, Failure> {
        let Offers { bearer, is_basic } = Offers::of(response.headers());
        let lasting = |header| Authorization { header, expires: Instant::now() + MAX_LIFETIME };
        Ok(match (bearer, is_basic, &self.endpoint.credentials) {
            (Some(_), _, Credentials::Token(token)) => lasting(self.bearer(token)?),
            (Some(service), ..) => self.fetch_token(response.url(), service).await?,
            (None, true, Credentials::Basic { username, password }) => {
                lasting(basic(username, password).map_err(|error| self.unsendable(error))?)
            }
            (None, true, Credentials::Token(_) | Credentials::Identity(_)) => {
                return Err(self.unauthorized("it wants a user name and password, not a token").into());
            }
            _ => {
                return Err(match success(self.reference, response).await {
                    Ok(_) => self.unauthorized("it refuses and does not say what it wants").into(),
                    Err(failure) => failure,
                });
            }
        })
    }

    /// Requests a token from the service that the challenge names.
    async fn fetch_token(&self, origin: &Url, offered: TokenService) -> Result<Authorization, Failure> {
        #[derive(Deserialize)]
        struct Granted {
            token: Option<SecretString>,
            access_token: Option<SecretString>,
            expires_in: Option<u64>,
        }
        let unusable = |detail: &str| Error::RegistryAnswer { object: redacted(origin), detail: detail.into() };
        let TokenService { realm, service, scope } = offered;
        let realm = realm.ok_or_else(|| unusable("its challenge names no token service"))?;
        self.require_trusted(origin, &realm)?;
        let scope = self.access.scope(scope, &self.endpoint.repository);
        let call = token_call(realm, service.as_deref(), scope.as_deref(), &self.endpoint.credentials)
            .map_err(|error| self.unsendable(error))?;

        let body = self.request_token(&call).await?;
        let answer: Granted =
            serde_json::from_slice(&body).map_err(|_| unusable("its token service answers no JSON"))?;
        let token = answer.token.filter(|token| !token.expose_secret().is_empty()).or(answer.access_token);
        let token = token.ok_or_else(|| unusable("its token service answers no token"))?;
        let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        // A tenth less, so that it is still valid when it arrives.
        let expires = Instant::now() + lifetime.mul_f32(0.9);
        Ok(Authorization { header: self.bearer(&token)?, expires })
    }

    /// Refuses to send credentials to a token service that is not the registry's.
    fn require_trusted(&self, origin: &Url, realm: &Url) -> Result<(), Error> {
        let host = &self.endpoint.host;
        if self.policy.trusts_tokens_of(host, origin, realm) {
            return Ok(());
        }
        let reason = format!("it is not on the host and port of {host}, nor a known token service of it");
        Err(Error::Denied { object: redacted(realm), reason, refusal: Refusal::TokenService })
    }

    async fn request_token(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let response = self.transport.send(call, None, || ()).await?;
        if response.status() == StatusCode::BAD_REQUEST {
            // OAuth2's status for an invalid refresh token (RFC 6749, section 5.2).
            return Err(self.unauthorized("its token service does not take them").into());
        }
        let object = redacted(response.url());
        let response = success(self.reference, response).await.map_err(|failure| match failure {
            // The service does not exist there; nothing is said of the image.
            Failure::Permanent(Error::UnknownImage { detail, .. }) => {
                Failure::Permanent(Error::RegistryAnswer { object, detail: format!("404 Not Found{detail}") })
            }
            failure => failure,
        })?;
        Body::new(response, MAX_ANSWER_SIZE).whole().await
    }

    fn bearer(&self, token: &SecretString) -> Result<HeaderValue, Error> {
        authorization("Bearer", token.expose_secret()).map_err(|error| self.unsendable(error))
    }

    fn unsendable(&self, _: InvalidHeaderValue) -> Error {
        self.unauthorized("the token holds characters that no header can carry")
    }

    fn unauthorized(&self, detail: &str) -> Error {
        Error::Unauthorized { reference: self.reference.to_string(), detail: Detail::new(detail) }
    }
}
