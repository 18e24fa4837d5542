//! Answering a registry's challenge (RFC 7235; distribution token authentication).

use http_auth::ChallengeRef;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{MAX_ANSWER_SIZE, Registry, transport};
use crate::config::Credentials;
use crate::error::{Detail, Error};
use crate::reference::Reference;

/// Token services that are trusted though they are on another host than their registry.
const TOKEN_HOSTS: [(&str, &str); 2] =
    [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// The value of `Authorization` that answers the challenge in `response`.
pub(super) async fn answer(
    registry: &Registry,
    reference: &Reference,
    response: Response,
) -> Result<HeaderValue, Error> {
    let headers: Vec<String> = response
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    let challenges: Vec<ChallengeRef<'_>> =
        headers.iter().filter_map(|header| http_auth::parse_challenges(header).ok()).flatten().collect();
    let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
    let credentials = registry.credentials_for(reference);
    match (offered("Bearer"), offered("Basic"), credentials) {
        (Some(_), _, Credentials::Token(token)) => header(reference, "Bearer", token.expose_secret()),
        (Some(challenge), _, _) => fetch_token(registry, reference, response.url(), challenge).await,
        (None, Some(_), Credentials::Basic { username, password }) => {
            header(reference, "Basic", &basic(username, password))
        }
        (None, Some(_), Credentials::Token(_)) => Err(Error::Unauthorized {
            reference: reference.to_string(),
            detail: Detail::new("it wants a user name and password, not a token"),
        }),
        _ => Err(transport::refusal(reference, response).await),
    }
}

/// Asks the token service that the challenge names.
async fn fetch_token(
    registry: &Registry,
    reference: &Reference,
    origin: &Url,
    challenge: &ChallengeRef<'_>,
) -> Result<HeaderValue, Error> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<SecretString>,
        access_token: Option<SecretString>,
    }
    let parameter = |name: &str| {
        let value = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        value.map(http_auth::ParamValue::to_unescaped)
    };
    let unusable = |detail: String| Error::RegistryAnswer { object: transport::shown(origin), detail };
    let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
    let mut url = realm.ok_or_else(|| unusable("its challenge names no token service".into()))?;
    if !serves_tokens_for(origin, &url) {
        return Err(Error::Denied {
            object: transport::shown(&url),
            reason: format!("credentials for {} go to no token service elsewhere", reference.registry),
        });
    }
    let scope = parameter("scope").unwrap_or_else(|| format!("repository:{}:pull", reference.repository));
    let service = parameter("service");
    url.query_pairs_mut().extend_pairs(service.iter().map(|service| ("service", service))).append_pair("scope", &scope);

    let mut request = registry.http.get(url);
    if let Credentials::Basic { username, password } = registry.credentials_for(reference) {
        request = request.header("authorization", header(reference, "Basic", &basic(username, password))?);
    }
    let response = request.send().await.map_err(transport::unreachable)?;
    if !response.status().is_success() {
        return Err(transport::refusal(reference, response).await);
    }
    let body = transport::read_bounded(response, MAX_ANSWER_SIZE).await?;
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| unusable("its token service answers no JSON".into()))?;
    let token =
        answer.token.or(answer.access_token).ok_or_else(|| unusable("its token service answers no token".into()))?;
    header(reference, "Bearer", token.expose_secret())
}

/// A registry's token service is on its own host and port, or a pair that is known; it never leaves TLS.
fn serves_tokens_for(registry: &Url, realm: &Url) -> bool {
    let same = registry.host() == realm.host() && registry.port_or_known_default() == realm.port_or_known_default();
    let hosts = registry.host_str().zip(realm.host_str());
    let known = TOKEN_HOSTS.iter().any(|&pair| Some(pair) == hosts) && realm.port().is_none();
    (same || known) && registry.scheme() == realm.scheme()
}

fn basic(username: &str, password: &SecretString) -> String {
    base64_simd::STANDARD.encode_to_string(format!("{username}:{}", password.expose_secret()))
}

/// An `Authorization` value that no log shows.
fn header(reference: &Reference, scheme: &str, secret: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| Error::Unauthorized {
        reference: reference.to_string(),
        detail: Detail::new("the token holds characters that no header can carry"),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_from_the_registry_itself_or_a_known_pair() {
        for (registry, realm, trusted) in [
            ("https://r.example/v2/a", "https://r.example/token", true),
            ("https://r.example/v2/a", "https://r.example:443/token", true),
            ("http://localhost:5000/v2/a", "http://localhost:5000/token", true),
            ("https://registry-1.docker.io/v2/a", "https://auth.docker.io/token", true),
            ("https://r.example/v2/a", "https://auth.docker.io/token", false),
            ("https://r.example/v2/a", "http://r.example:443/token", false),
            ("https://r.example/v2/a", "https://r.example:8443/token", false),
            ("https://r.example/v2/a", "https://evil.example/token", false),
            ("https://registry-1.docker.io/v2/a", "https://auth.docker.io:444/token", false),
        ] {
            let urls = [registry, realm].map(|url| Url::parse(url).unwrap());
            assert_eq!(serves_tokens_for(&urls[0], &urls[1]), trusted, "{registry} {realm}");
        }
    }
}
