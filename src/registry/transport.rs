//! HTTP as registries are spoken to: bounded in time, size and redirects.

use std::error::Error as _;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::MAX_ANSWER_SIZE;
use crate::error::{Detail, Error};
use crate::reference::Reference;

/// How long a TCP and TLS connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a registry may be silent in the middle of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects that are followed: registries answer for blobs with their CDN.
const MAX_REDIRECTS: usize = 3;

/// The HTTP client. It drops `Authorization` where a redirect leads to another host or port. A registry on this machine
/// is spoken to directly, whatever proxy the environment names.
pub(super) fn client(loopback: bool) -> Result<Client, Error> {
    let builder = if loopback { Client::builder().no_proxy() } else { Client::builder() };
    builder
        .tls_backend_preconfigured(crate::tls::client_config(&[b"h2", b"http/1.1"])?)
        .user_agent(concat!("propeller-proxy/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .redirect(Policy::custom(redirect))
        .build()
        .map_err(|error| Error::Setup { object: "HTTP client".into(), detail: causes(&error) })
}

/// Follows a registry within itself, and to another host by https only: a request must not be led to what listens inside
/// the operator's network.
fn redirect(attempt: Attempt) -> reqwest::redirect::Action {
    let stays = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if !stays && attempt.url().scheme() != "https" {
        attempt.error("redirected to another host without TLS")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("redirected too often")
    } else {
        attempt.follow()
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_bounded(mut response: Response, limit: u64) -> Result<Vec<u8>, Error> {
    let object = shown(response.url());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        if (body.len() + piece.len()) as u64 > limit {
            return Err(Error::TooLarge { object, limit });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The error that an answer without success stands for.
pub(super) async fn refusal(reference: &Reference, response: Response) -> Error {
    let (status, object) = (response.status(), shown(response.url()));
    let detail = words(response).await;
    let reference = reference.to_string();
    match status {
        StatusCode::NOT_FOUND => Error::UnknownImage { reference, detail },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Unauthorized { reference, detail },
        _ => Error::RegistryAnswer { object, detail: format!("{status}{detail}") },
    }
}

/// What the registry says in an error body (OCI distribution specification, "Error Codes"), if it says something.
pub(super) async fn words(response: Response) -> Detail {
    #[derive(Deserialize)]
    struct Body {
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
    let Ok(body) = read_bounded(response, MAX_ANSWER_SIZE).await else { return Detail::default() };
    let Ok(body) = serde_json::from_slice::<Body>(&body) else { return Detail::default() };
    let entries = body.errors.into_iter().map(|Entry { code, message }| {
        [code, message].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    });
    Detail::new(&entries.chain(body.details).collect::<Vec<_>>().join("; "))
}

/// No answer, or not to its end.
pub(super) fn unreachable(error: reqwest::Error) -> Error {
    let object = error.url().map_or_else(|| "registry".into(), shown);
    Error::RegistryUnreachable { object, detail: causes(&error.without_url()) }
}

/// A URL without user, query and fragment: those may hold secrets.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// An error and its causes on one line.
fn causes(error: &reqwest::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
