//! Why an exchange failed, and whether a retry can help.

use std::time::Duration;

use reqwest::Url;

use super::resolver::Forbidden;
use crate::error::{Error, Refusal, cause, causes};

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
        let error = Error::RegistryUnreachable { object, detail: causes(&error.without_url()) };
        if is_distrusted { Self::Permanent(error) } else { Self::Transient(error, None) }
    }
}

/// A URL without user, query and fragment: those may hold secrets.
pub(super) fn redacted(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
