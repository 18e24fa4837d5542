//! Answering a registry's challenge (RFC 9110, section 11; distribution token authentication), and remembering the answer.

use std::time::{Duration, Instant};

use http_auth::ChallengeRef;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use super::retry::Failure;
use super::transport::{self, Body, Call, shown};
use super::{Endpoint, MAX_ANSWER_SIZE, Repository};
use crate::error::{Detail, Error, Refusal};
use crate::oci::digest::Digest;
use crate::oci::options::Credentials;
use crate::util::ttl_cache::TtlCache;

/// How long a token lasts if its service does not say (distribution token specification, "Token Response Fields").
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// How long an authorization is used that does not expire, or later than this.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Authorizations that are remembered.
const MAX_AUTHORIZATIONS: usize = 1024;

/// What is to be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Pull,
    Push,
    /// Nothing yet, but to be known.
    Login,
}

/// Values of `Authorization` that registries accepted, until they expire: per registry, repository, credentials and
/// access.
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

    pub(super) fn forget(&self, endpoint: &Endpoint, access: Access) {
        self.0.remove(&key(endpoint, access));
    }
}

fn key(endpoint: &Endpoint, access: Access) -> Key {
    (endpoint.host.clone(), endpoint.repository.clone(), fingerprint(&endpoint.credentials), access)
}

/// Tells credentials apart without holding them.
pub(super) fn fingerprint(credentials: &Credentials) -> Digest {
    let (kind, name, secret) = match credentials {
        Credentials::Anonymous => return Digest::of(&[]),
        Credentials::Basic { username, password } => ("basic", username.as_str(), password),
        Credentials::Token(token) => ("token", "", token),
        Credentials::Identity(token) => ("identity", "", token),
    };
    Digest::of(format!("{kind}\0{name}\0{}", secret.expose_secret()).as_bytes())
}

/// A challenge of a repository at one of its endpoints.
pub(super) struct Challenge<'a> {
    pub(super) repository: &'a Repository<'a>,
    pub(super) endpoint: &'a Endpoint,
    pub(super) access: Access,
}

/// A value of `Authorization`, and until when it is good.
type Authorization = (HeaderValue, Instant);

impl Challenge<'_> {
    /// The value of `Authorization` that answers the challenge in `response`.
    pub(super) async fn answer(&self, response: Response) -> Result<HeaderValue, Failure> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let headers: Vec<String> = headers.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
        let challenges: Vec<ChallengeRef<'_>> =
            headers.iter().filter_map(|header| http_auth::parse_challenges(header).ok()).flatten().collect();
        let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        let lasting = |header| (header, Instant::now() + MAX_LIFETIME);
        let (header, expires) = match (offered("Bearer"), offered("Basic"), &self.endpoint.credentials) {
            (Some(_), _, Credentials::Token(token)) => lasting(self.header("Bearer", token.expose_secret())?),
            (Some(challenge), ..) => self.fetch_token(response.url(), challenge).await?,
            (None, Some(_), Credentials::Basic { username, password }) => {
                lasting(self.header("Basic", &basic(username, password))?)
            }
            (None, Some(_), Credentials::Token(_) | Credentials::Identity(_)) => {
                return Err(self.unauthorized("it wants a user name and password, not a token").into());
            }
            _ => {
                return Err(match transport::success(self.repository.reference, response).await {
                    Ok(_) => self.unauthorized("it refuses and does not say what it wants").into(),
                    Err(failure) => failure,
                });
            }
        };
        self.repository.registry.authorizations.0.insert(key(self.endpoint, self.access), header.clone(), expires);
        Ok(header)
    }

    /// Asks the token service that the challenge names.
    async fn fetch_token(&self, origin: &Url, challenge: &ChallengeRef<'_>) -> Result<Authorization, Failure> {
        #[derive(Deserialize)]
        struct Granted {
            token: Option<SecretString>,
            access_token: Option<SecretString>,
            expires_in: Option<u64>,
        }
        let unusable = |detail: &str| Error::RegistryAnswer { object: shown(origin), detail: detail.into() };
        let parameter = |name: &str| {
            let value = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            value.map(http_auth::ParamValue::to_unescaped)
        };
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
        let realm = realm.ok_or_else(|| unusable("its challenge names no token service"))?;
        if !self.repository.registry.policy.trusts_tokens_of(&self.endpoint.host, origin, &realm) {
            return Err(Failure::Permanent(Error::Denied {
                object: shown(&realm),
                reason: format!(
                    "it is not on the host and port of {}, nor a known token service of it",
                    self.endpoint.host
                ),
                refusal: Refusal::TokenService,
            }));
        }
        let scope = parameter("scope").filter(|scope| !scope.is_empty());
        let of_repository = || format!("repository:{}:pull", self.endpoint.repository);
        let scope = match self.access {
            Access::Pull => Some(scope.unwrap_or_else(of_repository)),
            Access::Push => {
                let scope = scope.unwrap_or_else(of_repository);
                // The first question before a push is whether the blob is there, for which pulling would be enough.
                let pulling = scope.strip_suffix(":pull").map(|repository| format!("{repository}:pull,push"));
                Some(pulling.unwrap_or(scope))
            }
            Access::Login => scope,
        };
        let call = self.token_call(realm, parameter("service").as_deref(), scope.as_deref())?;

        let body = self.ask(&call).await?;
        let answer: Granted =
            serde_json::from_slice(&body).map_err(|_| unusable("its token service answers no JSON"))?;
        let token = answer.token.filter(|token| !token.expose_secret().is_empty()).or(answer.access_token);
        let token = token.ok_or_else(|| unusable("its token service answers no token"))?;
        let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        // A tenth less, so that it is still good when it arrives.
        let expires = Instant::now() + lifetime.mul_f32(0.9);
        Ok((self.header("Bearer", token.expose_secret())?, expires))
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
            return Ok(Call::new(Method::POST, realm).with("application/x-www-form-urlencoded", body));
        }
        realm.query_pairs_mut().extend_pairs(service.map(|name| ("service", name))).extend_pairs(scope);
        let mut headers = HeaderMap::new();
        if let Credentials::Basic { username, password } = &self.endpoint.credentials {
            headers.insert(reqwest::header::AUTHORIZATION, self.header("Basic", &basic(username, password))?);
        }
        Ok(Call { headers, ..Call::new(Method::GET, realm) })
    }

    async fn ask(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let response = self.repository.registry.transport.send_once(call, &call.url, None).await?;
        if response.status() == StatusCode::BAD_REQUEST {
            // How OAuth2 says that the token is not good (RFC 6749, section 5.2).
            return Err(self.unauthorized("its token service does not take them").into());
        }
        let object = shown(response.url());
        let response =
            transport::success(self.repository.reference, response).await.map_err(|failure| match failure {
                // It is the service that is unknown there, not the image.
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
        Error::Unauthorized { reference: self.repository.reference.to_string(), detail: Detail::new(detail) }
    }
}

fn basic(username: &str, password: &SecretString) -> String {
    base64_simd::STANDARD.encode_to_string(format!("{username}:{}", password.expose_secret()))
}
