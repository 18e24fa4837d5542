//! The challenges of a registry.

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::text::check_text;
use crate::error::Detail;
use crate::oci::options::{Credentials, RegistryOptions};
use crate::oci::policy::Policy;
use crate::oci::registry::call::{Call, Redirects};
use crate::oci::registry::failure::redacted;
use crate::oci::registry::offers::{Access, Offers, TokenService, token_call};

const SECRET: &str = "canary-of-the-password";
/// Base64 of the user name, a colon and the secret.
const LOGIN: &str = "dXNlcjpjYW5hcnktb2YtdGhlLXBhc3N3b3Jk";
/// Header fields of one name in a response.
const MAX_FIELDS: usize = 100;

/// A challenge, each line a header field, asks for no more than it says; credentials go to the registry's own host only,
/// and to no place that is logged.
pub fn challenge(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(MAX_FIELDS) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let Some(TokenService { realm, service, scope }) = Offers::of(&headers).bearer else { return };
    let given = service.as_ref().map_or(0, String::len) + scope.as_ref().map_or(0, String::len);
    assert!(given <= data.len());
    let Some(realm) = realm else { return };
    let shown = redacted(&realm);
    check_text(&shown, Detail::MAX_CHARS);
    assert!(!shown.contains(['?', '#']), "{shown:?}");
    check_trust(&realm);

    let has_secret = [SECRET.as_bytes(), LOGIN.as_bytes()].iter().any(|secret| contains(data, secret));
    for access in [Access::Pull, Access::Push, Access::Login] {
        let scope = access.scope(scope.clone(), "team/add");
        for credentials in [
            Credentials::Anonymous,
            Credentials::Basic { username: "user".into(), password: SECRET.into() },
            Credentials::Identity(SECRET.into()),
        ] {
            let call = token_call(realm.clone(), service.as_deref(), scope.as_deref(), &credentials)
                .expect("base64 fits into a header");
            check_call(&call, &realm, data.len(), &credentials);
            assert!(has_secret || !shows_secret(&call), "the secret is where logs show it");
        }
    }
}

fn check_trust(realm: &Url) {
    let options = RegistryOptions::for_tests("r.example");
    let origin = Url::parse("https://r.example/v2/").expect("a URL");
    if Policy::new(&options).trusts_tokens_of("r.example", &origin, realm) {
        let authority = (realm.scheme(), realm.host_str(), realm.port());
        assert_eq!(authority, ("https", Some("r.example"), None));
    }
}

fn check_call(call: &Call, realm: &Url, given: usize, credentials: &Credentials) {
    /// Bytes of what the proxy adds; a byte of the challenge becomes three at most, in the URL or the body.
    const OWN: usize = 500;
    let size = call.url.as_str().len() + call.body.as_ref().map_or(0, Bytes::len);
    assert!(size <= 3 * given + OWN, "{size} bytes of {given}");
    assert_eq!((call.url.scheme(), call.url.host(), call.url.port()), (realm.scheme(), realm.host(), realm.port()));
    assert_eq!((call.url.username(), call.url.password()), ("", None), "a registry's words become credentials");
    // A redirect would take the credentials along.
    assert_eq!(call.redirects, Redirects::Return);
    let sent = (call.headers.contains_key(AUTHORIZATION), call.body.is_some());
    let expected = (matches!(credentials, Credentials::Basic { .. }), matches!(credentials, Credentials::Identity(_)));
    assert_eq!(sent, expected);
}

/// Whether the secret is in the URL, or in a header that is shown.
fn shows_secret(call: &Call) -> bool {
    let shown = format!("{} {:?}", call.url, call.headers);
    shown.contains(SECRET) || shown.contains(LOGIN)
}

fn contains(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}
