//! Answering a registry's challenge (RFC 9110, section 11; distribution token authentication).

use std::time::{Duration, Instant};

use http_auth::ChallengeRef;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use super::call::Call;
use super::endpoint::Endpoint;
use super::failure::{Failure, redacted};
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

/// The purpose of a request, which its authorization has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Pull,
    Push,
    /// The credentials are checked and nothing else.
    Login,
}

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
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let headers: Vec<String> = headers.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
        let challenges: Vec<ChallengeRef<'_>> =
            headers.iter().filter_map(|header| http_auth::parse_challenges(header).ok()).flatten().collect();
        let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        let lasting = |header| Authorization { header, expires: Instant::now() + MAX_LIFETIME };
        Ok(match (offered("Bearer"), offered("Basic"), &self.endpoint.credentials) {
            (Some(_), _, Credentials::Token(token)) => lasting(self.header("Bearer", token.expose_secret())?),
            (Some(challenge), ..) => self.fetch_token(response.url(), challenge).await?,
            (None, Some(_), Credentials::Basic { username, password }) => {
                lasting(self.header("Basic", &basic(username, password))?)
            }
            (None, Some(_), Credentials::Token(_) | Credentials::Identity(_)) => {
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
    async fn fetch_token(&self, origin: &Url, challenge: &ChallengeRef<'_>) -> Result<Authorization, Failure> {
        #[derive(Deserialize)]
        struct Granted {
            token: Option<SecretString>,
            access_token: Option<SecretString>,
            expires_in: Option<u64>,
        }
        let unusable = |detail: &str| Error::RegistryAnswer { object: redacted(origin), detail: detail.into() };
        let parameter = |name: &str| {
            let value = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            value.map(http_auth::ParamValue::to_unescaped)
        };
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
        let realm = realm.ok_or_else(|| unusable("its challenge names no token service"))?;
        self.require_trusted(origin, &realm)?;
        let scope = self.scope(parameter("scope"));
        let call = self.token_call(realm, parameter("service").as_deref(), scope.as_deref())?;

        let body = self.request_token(&call).await?;
        let answer: Granted =
            serde_json::from_slice(&body).map_err(|_| unusable("its token service answers no JSON"))?;
        let token = answer.token.filter(|token| !token.expose_secret().is_empty()).or(answer.access_token);
        let token = token.ok_or_else(|| unusable("its token service answers no token"))?;
        let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        // A tenth less, so that it is still valid when it arrives.
        let expires = Instant::now() + lifetime.mul_f32(0.9);
        Ok(Authorization { header: self.header("Bearer", token.expose_secret())?, expires })
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

    /// The scope of the token: the one of the challenge, if that is enough.
    fn scope(&self, challenged: Option<String>) -> Option<String> {
        let challenged = challenged.filter(|scope| !scope.is_empty());
        if self.access == Access::Login {
            return challenged;
        }
        let scope = challenged.unwrap_or_else(|| format!("repository:{}:pull", self.endpoint.repository));
        match scope.strip_suffix(":pull") {
            // The first request of a push is whether the blob exists, for which the registry requires pulling only.
            Some(repository) if self.access == Access::Push => Some(format!("{repository}:pull,push")),
            _ => Some(scope),
        }
    }

    /// A GET with the user's credentials, or an `OAuth2` POST with the refresh token.
    fn token_call(&self, mut realm: Url, service: Option<&str>, scope: Option<&str>) -> Result<Call, Error> {
        let scope = scope.map(|scope| ("scope", scope));
        if let Credentials::Identity(token) = &self.endpoint.credentials {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "propeller-proxy")
                .append_pair("service", service.unwrap_or_default())
                .extend_pairs(scope)
                .append_pair("refresh_token", token.expose_secret())
                .finish();
            return Ok(Call::new(Method::POST, realm).with_body("application/x-www-form-urlencoded", body));
        }
        realm.query_pairs_mut().extend_pairs(service.map(|name| ("service", name))).extend_pairs(scope);
        let mut call = Call::new(Method::GET, realm);
        if let Credentials::Basic { username, password } = &self.endpoint.credentials {
            call.headers.insert(AUTHORIZATION, self.header("Basic", &basic(username, password))?);
        }
        Ok(call)
    }

    async fn request_token(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let response = self.transport.send(call, None).await?;
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

    /// An `Authorization` value that no log shows.
    fn header(&self, scheme: &str, secret: &str) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::from_str(&format!("{scheme} {secret}"))
            .map_err(|_| self.unauthorized("the token holds characters that no header can carry"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn unauthorized(&self, detail: &str) -> Error {
        Error::Unauthorized { reference: self.reference.to_string(), detail: Detail::new(detail) }
    }
}

fn basic(username: &str, password: &SecretString) -> String {
    base64_simd::STANDARD.encode_to_string(format!("{username}:{}", password.expose_secret()))
}
