//! Why an exchange failed, and whether a retry can help.

use std::time::Duration;

use reqwest::Url;

use super::resolver::Forbidden;
use crate::error::{Detail, Error, Refusal, cause, causes, printable};

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A retry may succeed; after this time, if the registry named one.
    Transient(Error, Option<Duration>),
    /// A retry cannot succeed.
    Permanent(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Permanent(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(error, _) | Failure::Permanent(error) => error,
        }
    }
}

impl Failure {
    /// No byte came for so long.
    pub(super) fn silent(url: &Url, time: Duration) -> Self {
        let detail = format!("it was silent for {} s", time.as_secs());
        Self::Transient(Error::RegistryUnreachable { object: redacted(url), detail }, None)
    }

    /// The egress policy does not permit `url`.
    pub(super) fn denied(url: &Url, reason: String) -> Self {
        Self::Permanent(Error::Denied { object: redacted(url), reason, refusal: Refusal::Address })
    }

    /// No response, or not to its end.
    pub(super) fn unreachable(error: reqwest::Error) -> Self {
        let url = error.url().cloned();
        if let (Some(url), Some(Forbidden(ip))) = (&url, cause::<Forbidden>(&error)) {
            return Self::denied(url, Forbidden(*ip).to_string());
        }
        let is_distrusted = matches!(cause(&error), Some(rustls::Error::InvalidCertificate(_)));
        let object = url.as_ref().map_or_else(|| "registry".into(), redacted);
        // The library repeats what the registry wrote, such as names in certificates.
        let detail = printable(&causes(&error.without_url()), Detail::MAX_CHARS);
        let error = Error::RegistryUnreachable { object, detail };
        if is_distrusted { Self::Permanent(error) } else { Self::Transient(error, None) }
    }
}

/// A URL without user, query and fragment: those may hold secrets. Redirects and challenges are the registry's words, and
/// bounded like others.
pub(crate) fn redacted(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let shown = format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
    printable(&shown, Detail::MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_secrets_and_within_bounds() {
        let url = Url::parse("https://user:word@r.example:5000/v2/?token=word#word").unwrap();
        assert_eq!(redacted(&url), "https://r.example:5000/v2/");
        let url = Url::parse(&format!("https://r.example/{}", "a".repeat(100_000))).unwrap();
        assert_eq!(redacted(&url).len(), Detail::MAX_CHARS);
    }
}
