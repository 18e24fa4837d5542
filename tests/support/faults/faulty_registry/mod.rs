//! A registry that misbehaves on request and remembers its requests.

mod body;
mod fault;
mod listener;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{
            AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, PROXY_AUTHORIZATION,
            RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
        },
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use self::{fault::Stage, listener::TlsListener};
use crate::support::clients::push;
use crate::support::digest;
use crate::support::servers::tls::Tls;

pub use self::fault::Fault;
pub use self::listener::server_config;

/// Which credentials a client must show; the registry takes any of the kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guard {
    Open,
    Basic,
    Bearer,
}

/// A request as the registry saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub method: Method,
    /// As it stood in the request: proxies are given whole URLs.
    pub uri: Uri,
    pub path: String,
    pub proxy_authorization: Option<String>,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// A registry on 127.0.0.1 that has one module, in every repository and under every tag.
pub struct FaultyRegistry {
    host: String,
    registry: Arc<Registry>,
    _server: JoinSet<()>,
}

impl FaultyRegistry {
    /// Starts an open registry, or one guarded by tokens if a fault is about these.
    ///
    /// Each fault waits for its turn, spoils one answer of its kind (to GET or HEAD) and goes; the last one stays.
    /// `[Fault::Truncated, Fault::None]` therefore cuts the first blob and gives the others in full.
    pub async fn start(module: impl Into<Bytes>, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = VecDeque::from_iter(faults);
        let token = faults.iter().any(|fault| matches!(fault.stage(), Stage::Challenge | Stage::Token));
        Self::guarded(module, faults, if token { Guard::Bearer } else { Guard::Open }).await
    }

    /// Starts a registry that challenges for credentials.
    pub async fn guarded(module: impl Into<Bytes>, faults: impl IntoIterator<Item = Fault>, guard: Guard) -> Self {
        Self::with(module.into(), faults.into_iter().collect(), guard, None).await
    }

    /// Starts an open registry that speaks TLS.
    pub async fn with_tls(module: impl Into<Bytes>, faults: impl IntoIterator<Item = Fault>, tls: &Tls) -> Self {
        Self::with(module.into(), faults.into_iter().collect(), Guard::Open, Some(tls)).await
    }

    async fn with(genuine: Bytes, faults: VecDeque<Fault>, guard: Guard, tls: Option<&Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the registry");
        let host = listener.local_addr().expect("the registry's address").to_string();
        let registry = Arc::new(Registry {
            url: format!("{}://{host}", if tls.is_some() { "https" } else { "http" }),
            tampered: Blob::new(tamper(&genuine)),
            genuine: Blob::new(genuine),
            guard,
            faults: Mutex::new(faults),
            seen: Mutex::default(),
            blob_bytes: Arc::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&registry));
        let mut server = JoinSet::new();
        match tls {
            Some(tls) => {
                let listener = TlsListener::new(listener, tls);
                server.spawn(async { axum::serve(listener, router).await.expect("serve the registry") })
            }
            None => server.spawn(async { axum::serve(listener, router).await.expect("serve the registry") }),
        };
        Self { host, registry, _server: server }
    }

    /// Replaces the faults.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.registry.faults.lock().expect("the faults") = faults.into_iter().collect();
    }

    /// Returns `127.0.0.1:PORT`, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.registry.url
    }

    /// Returns the URL of the module.
    pub fn blob_url(&self) -> String {
        format!("{}/v2/module/blobs/{}", self.url(), self.digest())
    }

    /// Returns the module.
    pub fn module(&self) -> &Bytes {
        &self.registry.genuine.bytes
    }

    /// Returns the digest of the module.
    pub fn digest(&self) -> &str {
        &self.registry.genuine.digest
    }

    /// Returns the digest of the true manifest.
    pub fn manifest_digest(&self) -> String {
        digest(&self.registry.genuine.manifest)
    }

    /// Returns every request so far, the oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.registry.seen.lock().expect("the requests seen").clone()
    }

    /// Returns the requests so far whose path holds `part`, such as `/blobs/`.
    pub fn seen_for(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.contains(part)).collect()
    }

    /// Returns the method and path of each request after the first `count`.
    pub fn requests_since(&self, count: usize) -> Vec<String> {
        self.seen().iter().skip(count).map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    /// Returns the number of requests for blobs.
    pub fn fetches(&self) -> usize {
        self.seen_for("/blobs/").iter().filter(|seen| seen.method == Method::GET).count()
    }

    /// Returns how many bytes of blobs it has sent.
    pub fn blob_bytes(&self) -> u64 {
        self.registry.blob_bytes.load(Relaxed)
    }

    /// Returns the credentials that have come so far.
    pub fn credentials(&self) -> Vec<String> {
        self.seen().into_iter().filter_map(|seen| seen.authorization).collect()
    }
}

struct Blob {
    bytes: Bytes,
    digest: String,
    manifest: Bytes,
}

impl Blob {
    fn new(bytes: Bytes) -> Self {
        Self { digest: digest(&bytes), manifest: push::wasm_manifest(&bytes).to_string().into(), bytes }
    }
}

struct Registry {
    url: String,
    genuine: Blob,
    tampered: Blob,
    guard: Guard,
    faults: Mutex<VecDeque<Fault>>,
    seen: Mutex<Vec<Seen>>,
    blob_bytes: Arc<AtomicU64>,
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let header = |name: HeaderName| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let seen = Seen {
        at: Instant::now(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        path: request.uri().path().to_owned(),
        proxy_authorization: header(PROXY_AUTHORIZATION),
        authorization: header(AUTHORIZATION),
        range: header(RANGE),
    };
    registry.seen.lock().expect("the requests seen").push(seen.clone());
    registry.answer(&seen)
}

impl Registry {
    fn answer(&self, seen: &Seen) -> Response {
        if seen.path == "/token" {
            return self.token();
        }
        let path = seen.path.strip_prefix("/v2/").unwrap_or_default();
        let scheme = seen.authorization.as_deref().and_then(|shown| shown.split(' ').next());
        match (self.guard, scheme) {
            (Guard::Open, _) | (Guard::Basic, Some("Basic")) | (Guard::Bearer, Some("Bearer")) => {}
            _ => return self.challenge(path),
        }
        if path.contains("/manifests/") {
            self.manifest()
        } else if let Some((_, digest)) = path.split_once("/blobs/") {
            self.blob(digest, seen.range.as_deref())
        } else {
            StatusCode::OK.into_response()
        }
    }

    /// Returns the fault whose turn it is, if it concerns this kind of answer.
    fn fault(&self, stage: Stage) -> Fault {
        let mut faults = self.faults.lock().expect("the faults");
        match faults.front() {
            Some(fault) if fault.stage() == stage && faults.len() > 1 => faults.pop_front().expect("a fault"),
            Some(fault) if fault.stage() == stage => fault.clone(),
            _ => Fault::None,
        }
    }

    fn challenge(&self, path: &str) -> Response {
        let realm = match self.fault(Stage::Challenge) {
            Fault::ForeignRealm(url) => url,
            _ => format!("{}/token", self.url),
        };
        let repository = path.rsplitn(3, '/').last().unwrap_or_default();
        let challenge = match self.guard {
            Guard::Bearer => format!(r#"Bearer realm="{realm}",service="faulty",scope="repository:{repository}:pull""#),
            Guard::Basic | Guard::Open => r#"Basic realm="faulty""#.to_owned(),
        };
        ([(WWW_AUTHENTICATE, challenge)], error(401)).into_response()
    }

    fn token(&self) -> Response {
        match self.fault(Stage::Token) {
            Fault::EndlessToken => body::endless(r#"{"token":""#, b'a').into_response(),
            Fault::TokenWithNewline => r#"{"token":"line\nbreak","expires_in":300}"#.into_response(),
            Fault::TokenStatus(status) => error(status),
            Fault::TokenRedirectTo(url) => redirect(url),
            _ => r#"{"token":"good","expires_in":300}"#.into_response(),
        }
    }

    fn manifest(&self) -> Response {
        let genuine = &self.genuine.manifest;
        let mut headers = HeaderMap::new();
        let (digest, body) = match self.fault(Stage::Manifest) {
            Fault::Status(status) => return error(status),
            Fault::TryAfter(seconds) => return ([(RETRY_AFTER, seconds.to_string())], error(429)).into_response(),
            Fault::ManifestRedirectTo(url) => return redirect(url),
            Fault::ManifestTampered => (digest(genuine), self.tampered.manifest.clone().into()),
            Fault::ManifestReplaced => (digest(&self.tampered.manifest), self.tampered.manifest.clone().into()),
            Fault::HugeManifest => (digest(genuine), body::endless(r#"{"schemaVersion":2,"#, b' ')),
            Fault::ManifestOfLength(length) => {
                headers.insert(CONTENT_LENGTH, length.into());
                (digest(genuine), body::endless(r#"{"schemaVersion":2,"#, b' '))
            }
            Fault::ForeignUrls(urls) => {
                let mut manifest = push::wasm_manifest(&self.genuine.bytes);
                manifest["layers"][0]["urls"] = json!(urls);
                let text = manifest.to_string();
                (digest(text.as_bytes()), text.into())
            }
            _ => (digest(genuine), genuine.clone().into()),
        };
        let kind =
            [(CONTENT_TYPE, push::MANIFEST.to_owned()), (HeaderName::from_static("docker-content-digest"), digest)];
        (kind, headers, body).into_response()
    }

    fn blob(&self, asked: &str, range: Option<&str>) -> Response {
        let fault = self.fault(Stage::Blob);
        match fault {
            Fault::RedirectTo(url) => return redirect(url),
            Fault::BlobStatus(status) => return error(status),
            _ => {}
        }
        let blob = match [&self.genuine, &self.tampered].into_iter().find(|blob| blob.digest == asked) {
            Some(_) if fault == Fault::Tampered => &self.tampered,
            Some(blob) => blob,
            None => return error(404),
        };
        let size = blob.bytes.len();
        let range = range.filter(|_| fault != Fault::WithoutRange);
        let (status, mut headers, bytes) = part(&blob.bytes, range);
        if !matches!(fault, Fault::Short | Fault::Overlong) {
            headers.insert(CONTENT_LENGTH, bytes.len().into());
        }
        let until = |end: usize| bytes.slice(..end.saturating_sub(size - bytes.len()));
        let body = match fault {
            Fault::Truncated => body::cut(until(size / 2)),
            Fault::CutAt(end) => body::cut(until(end)),
            Fault::Short => body::whole(bytes.slice(..bytes.len() / 2)),
            Fault::Overlong => body::endless(bytes, 0),
            Fault::Slow => body::slow(bytes),
            Fault::ContentRange(range) => {
                if headers.remove(CONTENT_RANGE).is_some() && !range.is_empty() {
                    headers.insert(CONTENT_RANGE, range.parse().expect("a range in ASCII"));
                }
                body::whole(bytes)
            }
            _ => body::whole(bytes),
        };
        let sent = Arc::clone(&self.blob_bytes);
        let counted = body.into_data_stream().inspect_ok(move |piece| {
            sent.fetch_add(piece.len() as u64, Relaxed);
        });
        (status, headers, Body::from_stream(counted)).into_response()
    }
}

fn redirect(url: String) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, url)]).into_response()
}

/// Returns the answer's status, headers and bytes for a range such as `bytes=100-`.
fn part(whole: &Bytes, range: Option<&str>) -> (StatusCode, HeaderMap, Bytes) {
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match start.filter(|start| *start < whole.len()) {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, range.parse().expect("a range in ASCII"))]);
            (StatusCode::PARTIAL_CONTENT, headers, whole.slice(start..))
        }
        None => (StatusCode::OK, HeaderMap::new(), whole.clone()),
    }
}

/// Returns an error as the OCI distribution specification has it.
fn error(status: u16) -> Response {
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "NAME_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let text = json!({ "errors": [{ "code": code, "message": "a fault of the tests" }] }).to_string();
    let status = StatusCode::from_u16(status).expect("an HTTP status");
    let mut response = (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    response
}

fn tamper(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().expect("a module") ^= 1;
    bytes.into()
}
