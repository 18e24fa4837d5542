//! Reading responses: their status, their headers, and their body within bounds.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::failure::{Failure, redacted};
use crate::error::{Detail, Error, Refusal};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// Largest token or error body that is read, bytes.
#[doc(alias = "bound")]
pub(super) const MAX_ANSWER_SIZE: u64 = 64 << 10;
/// How long a registry may be silent before or within a response.
#[doc(alias = "bound")]
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The response if its status is a success, else the failure that the status means.
pub(super) async fn success(reference: &Reference, response: Response) -> Result<Response, Failure> {
    let (status, object) = (response.status(), redacted(response.url()));
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let after = retry_after(&response);
    let detail = error_message(response).await;
    let reference = reference.to_string();
    let answer = |detail| Error::RegistryAnswer { object, detail: format!("{status}{detail}") };
    Err(match status {
        StatusCode::NOT_FOUND => Failure::Permanent(Error::UnknownImage { reference, detail }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::Permanent(Error::Unauthorized { reference, detail })
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failure::Transient(answer(detail), after),
        _ if status.is_server_error() => Failure::Transient(answer(detail), after),
        _ => Failure::Permanent(answer(detail)),
    })
}

/// After what time the registry permits a retry (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok())
}

/// The errors in the body of a response (OCI distribution specification, "Error Codes"), if there are any.
async fn error_message(response: Response) -> Detail {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Entry>,
        /// Token services often answer with this instead.
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
    }
    let Ok(body) = Body::new(response, MAX_ANSWER_SIZE).whole().await else { return Detail::default() };
    let Ok(body) = serde_json::from_slice::<Answer>(&body) else { return Detail::default() };
    let entries = body.errors.into_iter().map(|Entry { code, message }| {
        [code, message].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    });
    Detail::new(&entries.chain(body.details).collect::<Vec<_>>().join("; "))
}

/// The digest of the manifest, according to the registry.
pub(super) fn content_digest(response: &Response) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// The URL in `Location`, without user information.
pub(super) fn location(response: &Response) -> Result<Url, Failure> {
    let url = response.url();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok()).filter(Url::has_host);
    let Some(mut next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
        let detail = "it leads to what is no http URL".into();
        return Err(Failure::Permanent(Error::RegistryAnswer { object: redacted(url), detail }));
    };
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(Failure::Permanent(Error::Denied {
            object: redacted(&next),
            reason: "an answer leads there from https".into(),
            refusal: Refusal::Downgrade,
        }));
    }
    // User information in a URL would become credentials.
    let _ = next.set_username("").and(next.set_password(None));
    Ok(next)
}

/// Whether a partial response has all bytes from `offset` on (RFC 9110, section 14.4).
pub(super) fn continues(response: &Response, offset: u64, size: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((range, total)) = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/')) else {
        return false;
    };
    range == format!("{offset}-{}", size.saturating_sub(1)) && (total == "*" || total == size.to_string())
}

/// The body of a response: within its size limit, and never silent for long. How long all of it may take is the caller's
/// to say: many downloads share a link, and each is slow then.
pub(super) struct Body {
    response: Response,
    limit: u64,
    read: u64,
}

impl Body {
    pub(super) fn new(response: Response, limit: u64) -> Self {
        Self { response, limit, read: 0 }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let piece = timeout(IDLE_TIMEOUT, self.response.chunk()).await;
        let piece =
            piece.map_err(|_| Failure::silent(self.response.url(), IDLE_TIMEOUT))?.map_err(Failure::unreachable)?;
        let Some(piece) = piece else { return Ok(None) };
        self.read += piece.len() as u64;
        if self.read > self.limit {
            let object = redacted(self.response.url());
            return Err(Failure::Permanent(Error::TooLarge { object, limit: self.limit }));
        }
        Ok(Some(piece))
    }

    /// All of it.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}
