//! What the challenges of a registry offer (RFC 9110, section 11.6.1), and the call to the token service that one names
//! (distribution token authentication).

use http_auth::{ChallengeRef, ParamValue};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::call::Call;
use crate::oci::options::Credentials;

/// The purpose of a request, which its authorization has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
    /// The credentials are checked and nothing else.
    Login,
}

/// The ways to authorize a request.
#[derive(Default)]
pub(crate) struct Offers {
    /// By a token of this service.
    pub(crate) bearer: Option<TokenService>,
    /// By a user name and password.
    pub(crate) is_basic: bool,
}

/// The token service that a challenge names. No `Debug`: its URL may hold a secret.
pub(crate) struct TokenService {
    /// Its URL, if it is one.
    pub(crate) realm: Option<Url>,
    /// What it calls the registry.
    pub(crate) service: Option<String>,
    /// The scope of the token that the registry wants.
    pub(crate) scope: Option<String>,
}

impl Offers {
    /// Reads the challenges of a response. Those that are malformed do not count, and of two of one scheme the second one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let headers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut offers = Self::default();
        for challenge in headers.filter_map(|header| http_auth::parse_challenges(header).ok()).flatten() {
            if challenge.scheme.eq_ignore_ascii_case("Bearer") {
                offers.bearer.get_or_insert_with(|| TokenService::of(&challenge));
            }
            offers.is_basic |= challenge.scheme.eq_ignore_ascii_case("Basic");
        }
        offers
    }
}

impl TokenService {
    fn of(challenge: &ChallengeRef<'_>) -> Self {
        let parameter = |name: &str| {
            let value = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            value.map(ParamValue::to_unescaped)
        };
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok()).map(|mut realm| {
            // User information in a URL would become credentials.
            let _ = realm.set_username("").and(realm.set_password(None));
            realm
        });
        Self { realm, service: parameter("service"), scope: parameter("scope") }
    }
}

impl Access {
    /// The scope of a token for `repository`: the one of the challenge, if that is enough.
    pub(crate) fn scope(self, challenged: Option<String>, repository: &str) -> Option<String> {
        let challenged = challenged.filter(|scope| !scope.is_empty());
        if self == Self::Login {
            return challenged;
        }
        let scope = challenged.unwrap_or_else(|| format!("repository:{repository}:pull"));
        match scope.strip_suffix(":pull") {
            // The first request of a push is whether the blob exists, for which the registry requires pulling only.
            Some(repository) if self == Self::Push => Some(format!("{repository}:pull,push")),
            _ => Some(scope),
        }
    }
}

/// A GET with the user's credentials, or an `OAuth2` POST with the refresh token.
///
/// # Errors
/// If no header can carry the credentials.
pub(crate) fn token_call(
    mut realm: Url,
    service: Option<&str>,
    scope: Option<&str>,
    credentials: &Credentials,
) -> Result<Call, InvalidHeaderValue> {
    let scope = scope.map(|scope| ("scope", scope));
    if let Credentials::Identity(token) = credentials {
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
    if let Credentials::Basic { username, password } = credentials {
        call.headers.insert(AUTHORIZATION, basic(username, password)?);
    }
    Ok(call)
}

/// The value of `Authorization` for a user name and password (RFC 7617, section 2).
pub(super) fn basic(username: &str, password: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let login = format!("{username}:{}", password.expose_secret());
    authorization("Basic", &base64_simd::STANDARD.encode_to_string(login))
}

/// A value of `Authorization` that no log shows.
pub(super) fn authorization(scheme: &str, secret: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(challenge: &'static str) -> Offers {
        Offers::of(&HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))]))
    }

    #[test]
    fn the_user_information_of_a_realm_is_not_used() {
        let offered = offers(r#"Basic realm="a", bearer realm="https://user:word@r.example/token?a=b",service="s""#);
        let TokenService { realm, service, scope } = offered.bearer.unwrap();
        assert!(offered.is_basic && scope.is_none());
        let call = token_call(realm.unwrap(), service.as_deref(), None, &Credentials::Anonymous).unwrap();
        assert_eq!(call.url.as_str(), "https://r.example/token?a=b&service=s");
        assert!(call.headers.is_empty());
    }
}
