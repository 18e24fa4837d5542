//! A registry that misbehaves on request and remembers what it was asked.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{
            AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE, RETRY_AFTER,
            WWW_AUTHENTICATE,
        },
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::{net::TcpListener, task, task::JoinSet, time};

use super::{digest, push};

/// What goes wrong with one answer; the others are as they should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing: a blob is answered as it should be.
    None,

    /// The manifest names another module of the same size, which the registry has, too.
    ManifestTampered,
    /// The manifest never ends.
    HugeManifest,
    /// The manifest says that its layer is to be had at this URL, too.
    ForeignUrls(String),
    /// Instead of a manifest, an error with this status; with 429 goes `Retry-After: 1`.
    Status(u16),

    /// One byte of the blob is another.
    Tampered,
    /// The connection is cut in the middle of the blob, of whose length `Content-Length` told the truth.
    Truncated,
    /// The second half of the blob is missing, and the answer ends in order.
    Short,
    /// The blob is followed by more, without end.
    Overlong,
    /// The blob comes at one byte a second.
    Slow,
    /// The blob comes from its start, whatever range was asked for.
    WithoutRange,
    /// Instead of a blob, an error with this status; with 429 goes `Retry-After: 1`.
    BlobStatus(u16),
    /// The blob is to be had at this URL.
    RedirectTo(String),

    /// The token never ends.
    EndlessToken,
    /// The token holds a line break.
    TokenWithNewline,
    /// Tokens are to be had at this URL.
    ForeignRealm(String),
}

/// The kind of answer that a fault spoils.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Challenge,
    Token,
    Manifest,
    Blob,
}

impl Fault {
    fn stage(&self) -> Stage {
        match self {
            Self::ForeignRealm(_) => Stage::Challenge,
            Self::EndlessToken | Self::TokenWithNewline => Stage::Token,
            Self::ManifestTampered | Self::HugeManifest | Self::ForeignUrls(_) | Self::Status(_) => Stage::Manifest,
            _ => Stage::Blob,
        }
    }
}

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
    pub method: Method,
    pub path: String,
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

    /// Starts a registry that asks for credentials.
    pub async fn guarded(module: impl Into<Bytes>, faults: impl IntoIterator<Item = Fault>, guard: Guard) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the registry");
        let host = listener.local_addr().expect("the registry's address").to_string();
        let genuine = module.into();
        let registry = Arc::new(Registry {
            url: format!("http://{host}"),
            tampered: Blob::new(tamper(&genuine)),
            genuine: Blob::new(genuine),
            guard,
            faults: Mutex::new(faults.into_iter().collect()),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&registry));
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await.expect("serve the registry") });
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
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let header = |name: HeaderName| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
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
            Fault::EndlessToken => endless(r#"{"token":""#, b'a').into_response(),
            Fault::TokenWithNewline => r#"{"token":"line\nbreak","expires_in":300}"#.into_response(),
            _ => r#"{"token":"good","expires_in":300}"#.into_response(),
        }
    }

    fn manifest(&self) -> Response {
        let genuine = &self.genuine.manifest;
        let (digest, body) = match self.fault(Stage::Manifest) {
            Fault::Status(status) => return error(status),
            Fault::ManifestTampered => (digest(genuine), self.tampered.manifest.clone().into()),
            Fault::HugeManifest => (digest(genuine), endless(r#"{"schemaVersion":2,"#, b' ')),
            Fault::ForeignUrls(url) => {
                let mut manifest = push::wasm_manifest(&self.genuine.bytes);
                manifest["layers"][0]["urls"] = json!([url]);
                let text = manifest.to_string();
                (digest(text.as_bytes()), text.into())
            }
            _ => (digest(genuine), genuine.clone().into()),
        };
        let headers =
            [(CONTENT_TYPE, push::MANIFEST.to_owned()), (HeaderName::from_static("docker-content-digest"), digest)];
        (headers, body).into_response()
    }

    fn blob(&self, asked: &str, range: Option<&str>) -> Response {
        let fault = self.fault(Stage::Blob);
        match fault {
            Fault::RedirectTo(url) => return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, url)]).into_response(),
            Fault::BlobStatus(status) => return error(status),
            _ => {}
        }
        let blob = match [&self.genuine, &self.tampered].into_iter().find(|blob| blob.digest == asked) {
            Some(_) if fault == Fault::Tampered => &self.tampered,
            Some(blob) => blob,
            None => return error(404),
        };
        let range = range.filter(|_| fault != Fault::WithoutRange);
        let (status, mut headers, bytes) = part(&blob.bytes, range);
        if !matches!(fault, Fault::Short | Fault::Overlong) {
            headers.insert(CONTENT_LENGTH, bytes.len().into());
        }
        let body = match fault {
            Fault::Truncated => cut(bytes.slice(..bytes.len() / 2)),
            Fault::Short => Body::from_stream(one(bytes.slice(..bytes.len() / 2))),
            Fault::Overlong => endless(bytes, 0),
            Fault::Slow => slow(bytes),
            _ => bytes.into(),
        };
        (status, headers, body).into_response()
    }
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

type Piece = io::Result<Bytes>;

fn one(bytes: Bytes) -> impl Stream<Item = Piece> {
    stream::iter([Ok(bytes)])
}

fn endless(start: impl Into<Bytes>, filler: u8) -> Body {
    let filler = Bytes::from(vec![filler; 8192]);
    Body::from_stream(one(start.into()).chain(stream::repeat_with(move || Ok(filler.clone()))))
}

fn cut(bytes: Bytes) -> Body {
    let error = async {
        // The bytes before the cut leave while the server waits for more.
        task::yield_now().await;
        Err(io::Error::other("cut by the tests"))
    };
    Body::from_stream(one(bytes).chain(stream::once(error)))
}

fn slow(bytes: Bytes) -> Body {
    Body::from_stream(stream::unfold(bytes, |mut rest| async {
        time::sleep(Duration::from_secs(1)).await;
        (!rest.is_empty()).then(|| (Piece::Ok(rest.split_to(1)), rest))
    }))
}
