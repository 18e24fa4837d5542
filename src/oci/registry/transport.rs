//! HTTP as registries are spoken to: bounded in time, size, pace, redirects and reach.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::redirect::Policy as Redirects;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::MAX_ANSWER_SIZE;
use super::contact;
use super::outgoing;
use super::proxies::Proxies;
use super::resolver::{Forbidden, PublicOnly, is_public};
use super::retry::Failure;
use crate::error::{Detail, Error, Refusal, cause, causes};
use crate::oci::digest::Digest;
use crate::oci::options::RegistryOptions;
use crate::oci::policy::{Policy, Reach};
use crate::oci::reference::Reference;
use crate::telemetry::readiness::Probe;
use crate::tls;

/// How long a TCP and TLS connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a registry may be silent before or in the middle of an answer.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The least rate at which a body may come or go, bytes a second.
#[doc(alias = "bound")]
pub(super) const MIN_RATE: u64 = 64 << 10;
/// The time of waiting over which it is measured.
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Redirects that are followed: registries answer for blobs with their CDN.
const MAX_REDIRECTS: usize = 3;

/// The HTTP clients: one for the configured registry, which alone is shown the client certificate; one for other hosts
/// that the operator named; and one for all others, which dials public addresses only.
#[derive(Debug)]
pub(super) struct Transport {
    policy: Policy,
    configured: Client,
    named: Client,
    public: Client,
    proxy_hosts: Vec<String>,
    /// Whether the configured registry answers.
    contact: Probe,
}

/// One HTTP request.
/// No `Debug`: the body may hold a token.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }

    /// Sends `body` with it.
    pub(super) fn with(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = Some(body.into());
        self
    }

    pub(super) fn accept(mut self, media_types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(media_types));
        self
    }

    /// Asks whether it is still the one with this digest (RFC 9110, section 13.1.2; registries use digests as tags).
    pub(super) fn if_none_match(mut self, digest: Digest) -> Self {
        if let Ok(value) = HeaderValue::from_str(&format!("\"{digest}\"")) {
            self.headers.insert(IF_NONE_MATCH, value);
        }
        self
    }

    /// Asks for no more than the first `size` bytes.
    pub(super) fn ending_at(mut self, size: usize) -> Self {
        if let Ok(value) = HeaderValue::from_str(&format!("bytes=0-{}", size.saturating_sub(1))) {
            self.headers.insert(RANGE, value);
        }
        self
    }

    /// Asks for what follows the first `offset` bytes (RFC 9110, section 14.2).
    pub(super) fn starting_at(mut self, offset: u64) -> Self {
        if offset > 0
            && let Ok(value) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            self.headers.insert(RANGE, value);
        }
        self
    }
}

impl Transport {
    /// The clients of a configuration.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or proxies are unusable.
    pub(super) fn new(config: &RegistryOptions, policy: Policy, contact: Probe) -> Result<Self, Error> {
        let proxies = Proxies::from_env()?;
        let roots = tls::roots(&config.ca_certificates)?;
        let client = |identity, resolver: Option<PublicOnly>| {
            let mut builder = Client::builder()
                .tls_backend_preconfigured(tls::client_config(Arc::clone(&roots), &[b"h2", b"http/1.1"], identity)?)
                .user_agent(concat!("propeller-proxy/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(config.max_fetches)
                .redirect(Redirects::none())
                .no_proxy();
            for proxy in &proxies.list {
                builder = builder.proxy(proxy.clone());
            }
            if let Some(resolver) = resolver {
                builder = builder.dns_resolver(Arc::new(resolver));
            }
            builder.build().map_err(|error| Error::Setup { object: "HTTP client".into(), detail: causes(&error) })
        };
        Ok(Self {
            configured: client(config.client_identity.as_ref(), None)?,
            named: client(None, None)?,
            public: client(None, Some(PublicOnly { except: proxies.hosts.clone() }))?,
            proxy_hosts: proxies.hosts,
            policy,
            contact,
        })
    }

    /// Sends a request and follows the registry where it redirects: at most three times, never from https to http, and
    /// without `authorization` once scheme, host or port change.
    pub(super) async fn send(&self, call: &Call, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let mut authorization = authorization;
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(call, &url, authorization).await?;
            let Some(next) = redirection(&response)? else { return Ok(response) };
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        let detail = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Failure::Permanent(Error::RegistryAnswer { object: shown(&call.url), detail }))
    }

    /// Sends a request that may hold credentials, and follows nothing.
    pub(super) async fn send_once(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let own = self.policy.reach(&call.url) == Reach::Configured;
        let mut request =
            self.client(url, own)?.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = outgoing::send(request, url, call.body.as_ref()).await;
        if own && self.policy.reach(url) == Reach::Configured {
            self.contact.note(contact::found(&answer));
        }
        answer
    }

    /// The client that may dial `url`. Names are looked at again when they are resolved. The client certificate is for
    /// calls of our `own` to the configured registry, not for what another one redirects there.
    fn client(&self, url: &Url, own: bool) -> Result<&Client, Failure> {
        match self.policy.reach(url) {
            Reach::Configured if own => return Ok(&self.configured),
            Reach::Configured | Reach::Named => return Ok(&self.named),
            Reach::Public => {}
        }
        let refused = match url.host() {
            Some(url::Host::Ipv4(ip)) => (!is_public(ip.into())).then(|| Forbidden(ip.into()).to_string()),
            Some(url::Host::Ipv6(ip)) => (!is_public(ip.into())).then(|| Forbidden(ip.into()).to_string()),
            Some(url::Host::Domain(name)) => {
                self.proxy_hosts.iter().any(|host| host == name).then(|| "it is the HTTP proxy".to_owned())
            }
            None => Some("it has no host".into()),
        };
        match refused {
            Some(reason) => Err(Failure::Permanent(denied(url, reason))),
            None => Ok(&self.public),
        }
    }
}

/// Where a response redirects to, if it does.
fn redirection(response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    location(response).map(Some)
}

/// Where a response says that the caller is to go on.
pub(super) fn location(response: &Response) -> Result<Url, Failure> {
    let url = response.url();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok()).filter(Url::has_host);
    let Some(mut next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
        let detail = "it leads to what is no http URL".into();
        return Err(Failure::Permanent(Error::RegistryAnswer { object: shown(url), detail }));
    };
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(Failure::Permanent(Error::Denied {
            object: shown(&next),
            reason: "an answer leads there from https".into(),
            refusal: Refusal::Downgrade,
        }));
    }
    // User information in a URL would become credentials.
    let _ = next.set_username("").and(next.set_password(None));
    Ok(next)
}

/// Whether a partial answer is the rest from `offset` (RFC 9110, section 14.4).
pub(super) fn continues(response: &Response, offset: u64, size: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((range, total)) = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/')) else {
        return false;
    };
    range == format!("{offset}-{}", size.saturating_sub(1)) && (total == "*" || total == size.to_string())
}

/// The body of a response: at most so many bytes, and no slower than the least pace.
pub(super) struct Body {
    response: Response,
    limit: u64,
    read: u64,
    waited: Duration,
    in_window: u64,
}

impl Body {
    pub(super) fn new(response: Response, limit: u64) -> Self {
        Self { response, limit, read: 0, waited: Duration::ZERO, in_window: 0 }
    }

    /// The next piece, until there is none.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let asked = Instant::now();
        let piece = timeout(IDLE_TIMEOUT, self.response.chunk()).await;
        let piece = piece.map_err(|_| silent(self.response.url(), IDLE_TIMEOUT))?.map_err(unreachable)?;
        // Only waiting for the registry counts: a slow disk is not its fault.
        self.waited += asked.elapsed();
        let Some(piece) = piece else { return Ok(None) };
        self.read += piece.len() as u64;
        self.in_window += piece.len() as u64;
        if self.read > self.limit {
            let object = shown(self.response.url());
            return Err(Failure::Permanent(Error::TooLarge { object, limit: self.limit }));
        }
        if self.waited >= RATE_WINDOW {
            if self.in_window < MIN_RATE * RATE_WINDOW.as_secs() {
                let detail = format!("{} bytes in {} s are too slow", self.in_window, self.waited.as_secs());
                let object = shown(self.response.url());
                return Err(Failure::Permanent(Error::RegistryUnreachable { object, detail }));
            }
            (self.waited, self.in_window) = (Duration::ZERO, 0);
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

/// The response if it succeeds, or the failure that it stands for.
pub(super) async fn success(reference: &Reference, response: Response) -> Result<Response, Failure> {
    let (status, object) = (response.status(), shown(response.url()));
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

/// When the registry wants to be asked again (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok())
}

/// What the registry says in an error body (OCI distribution specification, "Error Codes"), if it says something.
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

/// No answer for so long.
pub(super) fn silent(url: &Url, time: Duration) -> Failure {
    let detail = format!("it was silent for {} s", time.as_secs());
    Failure::Transient(Error::RegistryUnreachable { object: shown(url), detail }, None)
}

/// No answer, or not to its end.
pub(super) fn unreachable(error: reqwest::Error) -> Failure {
    let url = error.url().cloned();
    if let (Some(url), Some(Forbidden(ip))) = (&url, cause::<Forbidden>(&error)) {
        return Failure::Permanent(denied(url, Forbidden(*ip).to_string()));
    }
    let distrusted = matches!(cause(&error), Some(rustls::Error::InvalidCertificate(_)));
    let object = url.as_ref().map_or_else(|| "registry".into(), shown);
    let error = Error::RegistryUnreachable { object, detail: causes(&error.without_url()) };
    if distrusted { Failure::Permanent(error) } else { Failure::Transient(error, None) }
}

fn denied(url: &Url, reason: String) -> Error {
    Error::Denied { object: shown(url), reason, refusal: Refusal::Address }
}

/// A URL without user, query and fragment: those may hold secrets.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
