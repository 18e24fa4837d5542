//! A read-only OCI registry inside the process, on a loopback port: it serves an image layout directory
//! (OCI distribution specification, "Pull" and "Content Discovery"). Faults can be injected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_http::services::ServeFile;

use super::faults::Faults;
use super::layout::{Layout, ref_name};
use super::port::candidates;
use crate::oci::digest::Digest;
use crate::util::sync::lock;

/// How long the embedded registry waits for responses in progress when it is stopped.
#[doc(alias = "bound")]
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Requests that the embedded registry remembers.
#[doc(alias = "bound")]
const MAX_REQUESTS: usize = 10_000;

/// A running registry; dropping it stops it.
pub struct Registry {
    port: u16,
    running: DropGuard,
    task: JoinHandle<io::Result<()>>,
    served: Arc<Served>,
}

/// The layout, and the faults.
struct Served {
    layout: Layout,
    faults: Mutex<Faults>,
}

impl Registry {
    /// Serves the layout in `layout_dir` on a free port of 127.0.0.1; later pushes are visible at once.
    ///
    /// # Errors
    /// If the directory is no layout or no port is free.
    pub async fn start(layout_dir: impl Into<PathBuf>) -> io::Result<Self> {
        Self::start_on(0, layout_dir).await
    }

    /// Serves it on `port` of 127.0.0.1, as after a restart, without earlier faults and requests.
    ///
    /// # Errors
    /// As [`Registry::start`], and if the port is taken.
    pub async fn start_on(port: u16, layout_dir: impl Into<PathBuf>) -> io::Result<Self> {
        let served = Arc::new(Served { layout: Layout::open(layout_dir)?, faults: Mutex::default() });
        let addresses: Vec<_> = candidates(port).into_iter().map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
        let listener = TcpListener::bind(&addresses[..]).await?;
        let port = listener.local_addr()?.port();
        // A response is two writes, head and body: Nagle's algorithm would delay the second.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let stop = CancellationToken::new();
        let routes = routes(Arc::clone(&served));
        let http = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self { port, running: stop.drop_guard(), task: tokio::spawn(http.into_future()), served })
    }

    /// Responds to the next `times` requests with `status`, or 500 if that is invalid, and an error body. Replaces an
    /// earlier fault.
    pub fn fail_next(&self, status: u16, times: u32) {
        let mut faults = lock(&self.served.faults);
        faults.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        faults.times = times;
    }

    /// Serves the blob or manifest `digest` from now on with one bit flipped, in its middle. Blocks on the disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is no digest or the blob is empty, else the system's error, such as
    /// [`io::ErrorKind::NotFound`].
    pub fn tamper(&self, digest: &str) -> io::Result<()> {
        let unusable = || io::Error::new(io::ErrorKind::InvalidInput, format!("{digest:?} cannot be tampered with"));
        let digest: Digest = digest.parse().map_err(|()| unusable())?;
        let mut bytes = fs::read(self.served.layout.blob_path(digest))?;
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).ok_or_else(unusable)? ^= 1;
        let mut copy = NamedTempFile::new()?;
        copy.write_all(&bytes)?;
        lock(&self.served.faults).tampered.insert(digest, copy);
        Ok(())
    }

    /// The requests so far, the oldest first, such as `GET /v2/add/manifests/1.0`; the last 10,000 at most.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.served.faults).requests.iter().cloned().collect()
    }

    /// The TCP port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host of its references, `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Closes the port and returns when every response in progress is sent, or after 5 s.
    pub async fn stop(self) {
        drop(self.running);
        let _ = tokio::time::timeout(STOP_LIMIT, self.task).await;
    }
}

fn routes(served: Arc<Served>) -> Router {
    Router::new()
        .route("/v2/", get(async || json(StatusCode::OK, &json!({}))))
        .route("/v2/_catalog", get(catalog))
        .route("/v2/{*path}", get(pull))
        .layer(from_fn_with_state(Arc::clone(&served), inject_failure))
        .with_state(served)
}

/// Records a request, and fails it after [`Registry::fail_next`].
async fn inject_failure(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let failure = {
        let mut faults = lock(&served.faults);
        if faults.requests.len() == MAX_REQUESTS {
            faults.requests.pop_front();
        }
        faults.requests.push_back(format!("{} {}", request.method(), request.uri()));
        let remaining = faults.times.checked_sub(1);
        faults.times = remaining.unwrap_or_default();
        remaining.map(|_| faults.status)
    };
    match failure {
        Some(status) => Failure::Injected(status).into_response(),
        None => next.run(request).await,
    }
}

async fn catalog(State(served): State<Arc<Served>>) -> Result<Response, Failure> {
    let entries = served.layout.entries()?;
    let names = entries.iter().filter_map(|entry| ref_name(entry)?.rsplit_once(':'));
    let repositories: BTreeSet<_> = names.map(|(repository, _)| repository).collect();
    Ok(json(StatusCode::OK, &json!({ "repositories": repositories })))
}

async fn pull(
    State(served): State<Arc<Served>>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    // Split from the end, because repository names have slashes.
    let mut parts = path.rsplitn(3, '/');
    let (Some(last), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Unknown("NAME_UNKNOWN"));
    };
    let entries = served.layout.entries()?;
    let tags: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|entry| {
            let (repository, tag) = ref_name(entry)?.rsplit_once(':')?;
            (repository == name).then_some((tag, entry))
        })
        .collect();
    match (kind, last) {
        _ if tags.is_empty() => Err(Failure::Unknown("NAME_UNKNOWN")),
        ("tags", "list") => Ok(json(StatusCode::OK, &json!({ "name": name, "tags": tags.keys().collect::<Vec<_>>() }))),
        ("manifests", reference) => {
            let by_digest = || entries.iter().find(|entry| entry.digest == reference);
            let entry = tags.get(reference).copied().or_else(by_digest);
            let entry = entry.ok_or(Failure::Unknown("MANIFEST_UNKNOWN"))?;
            send(&served, &entry.digest, &entry.media_type, "MANIFEST_UNKNOWN", request).await
        }
        ("blobs", digest) => send(&served, digest, "application/octet-stream", "BLOB_UNKNOWN", request).await,
        _ => Err(Failure::Unknown("NAME_UNKNOWN")),
    }
}

/// Responds with the blob of this digest. Only a digest that parses becomes a path.
async fn send(
    served: &Served,
    digest: &str,
    media_type: &str,
    unknown: &'static str,
    request: Request,
) -> Result<Response, Failure> {
    let name: Digest = digest.parse().map_err(|()| Failure::Unknown(unknown))?;
    let tampered = lock(&served.faults).tampered.get(&name).map(|copy| copy.path().to_owned());
    let path = tampered.unwrap_or_else(|| served.layout.blob_path(name));
    let mut response = ServeFile::new(path).try_call(request).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Unknown(unknown),
        _ => Failure::Disk(error),
    })?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(io::Error::other)?);
    headers.insert("docker-content-digest", HeaderValue::from_str(digest).map_err(io::Error::other)?);
    Ok(response.map(Body::new))
}

enum Failure {
    /// With the specification's error code.
    Unknown(&'static str),
    Disk(io::Error),
    /// By [`Registry::fail_next`].
    Injected(StatusCode),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unknown(code) => (StatusCode::NOT_FOUND, code, "the layout has nothing of this name".to_owned()),
            Self::Disk(error) => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string()),
            Self::Injected(status) => (status, "UNKNOWN", "it was told to fail".to_owned()),
        };
        json(status, &json!({ "errors": [{ "code": code, "message": message }] }))
    }
}

fn json(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::oci::artifact::Shape;

    /// Status, lower-case headers and body of one response.
    async fn send_request(registry: &Registry, request_line: &str, header: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(registry.host()).await.unwrap();
        let request = format!("{request_line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn it_serves_pushed_artifacts() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        assert_eq!(send_request(&registry, "GET /v2/", "").await.2, "{}");
        assert_eq!(send_request(&registry, "GET /v2/_catalog", "").await.2, r#"{"repositories":[]}"#);

        let old = layout.push("acme/add", "1.0", b"0123456788", Shape::WasmArtifact).unwrap();
        let pushed = layout.push("acme/add", "1.0", b"0123456789", Shape::WasmToOci).unwrap();
        assert_eq!(send_request(&registry, "GET /v2/_catalog", "").await.2, r#"{"repositories":["acme/add"]}"#);
        let tags = send_request(&registry, "GET /v2/acme/add/tags/list", "").await.2;
        assert_eq!(tags, r#"{"name":"acme/add","tags":["1.0"]}"#);

        let (status, head, manifest) = send_request(&registry, "GET /v2/acme/add/manifests/1.0", "").await;
        assert_eq!((status, Digest::of(manifest.as_bytes()).to_string()), (200, pushed.manifest.digest.to_string()));
        assert!(head.contains("content-type: application/vnd.oci.image.manifest.v1+json"), "{head}");
        assert!(head.contains(&format!("docker-content-digest: {}", pushed.manifest.digest)), "{head}");
        for digest in [old.manifest.digest, pushed.manifest.digest] {
            assert_eq!(send_request(&registry, &format!("HEAD /v2/acme/add/manifests/{digest}"), "").await.0, 200);
        }

        let blob = format!("/v2/acme/add/blobs/{}", pushed.layer.digest);
        assert_eq!(send_request(&registry, &format!("GET {blob}"), "").await.2, "0123456789");
        let (status, head, body) = send_request(&registry, &format!("HEAD {blob}"), "").await;
        assert_eq!((status, body.as_str(), head.contains("content-length: 10")), (200, "", true));
        let (status, _, body) = send_request(&registry, &format!("GET {blob}"), "Range: bytes=4-\r\n").await;
        assert_eq!((status, body.as_str()), (206, "456789"));
        assert_eq!(send_request(&registry, &format!("GET {blob}"), "Range: bytes=10-\r\n").await.0, 416);
    }

    #[tokio::test]
    async fn other_paths_are_unknown() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap().push("acme/add", "1.0", b"one", Shape::WasmToOci).unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        let zeros = "0".repeat(64);
        for (path, code) in [
            ("acme/sub/tags/list", "NAME_UNKNOWN"),
            ("acme/tags/list", "NAME_UNKNOWN"),
            ("../../oci-layout", "NAME_UNKNOWN"),
            ("acme/add/referrers/1.0", "NAME_UNKNOWN"),
            ("acme/add/manifests/2.0", "MANIFEST_UNKNOWN"),
            (&format!("acme/add/manifests/sha256:{zeros}"), "MANIFEST_UNKNOWN"),
            (&format!("acme/add/blobs/sha256:{zeros}"), "BLOB_UNKNOWN"),
            (&format!("acme/add/blobs/sha512:{zeros}{zeros}"), "BLOB_UNKNOWN"),
            ("acme/add/blobs/sha256:..%2F..%2Foci-layout", "NAME_UNKNOWN"),
            ("acme/add/blobs/..", "BLOB_UNKNOWN"),
        ] {
            let (status, _, body) = send_request(&registry, &format!("GET /v2/{path}"), "").await;
            assert!((status, body.contains(code)) == (404, true), "{path}: {status} {body}");
        }
        assert_eq!(send_request(&registry, "GET /etc/passwd", "").await.0, 404);
        assert_eq!(send_request(&registry, "POST /v2/acme/add/blobs/uploads/", "").await.0, 405);
        assert_eq!(send_request(&registry, "PUT /v2/acme/add/manifests/1.0", "").await.0, 405);
    }

    #[tokio::test]
    async fn it_fails_the_given_number_of_requests() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        registry.fail_next(429, 2);
        for expected in [429, 429, 200] {
            let (status, _, body) = send_request(&registry, "GET /v2/", "").await;
            assert!(status == expected && (status == 200 || body.contains("\"errors\"")), "{status} {body}");
        }
        registry.fail_next(7, 1);
        assert_eq!(send_request(&registry, "HEAD /v2/add/manifests/1.0?n=1", "").await.0, 500);
        assert_eq!(send_request(&registry, "PUT /elsewhere", "").await.0, 404);
        let expected = ["GET /v2/", "GET /v2/", "GET /v2/", "HEAD /v2/add/manifests/1.0?n=1", "PUT /elsewhere"];
        assert_eq!(registry.requests(), expected);
        lock(&registry.served.faults).requests.resize(MAX_REQUESTS, String::new());
        send_request(&registry, "GET /v2/last", "").await;
        let requests = registry.requests();
        assert_eq!((requests.len(), requests.last().unwrap().as_str()), (MAX_REQUESTS, "GET /v2/last"));
    }

    #[tokio::test]
    async fn it_tampers_with_the_given_blob() {
        let dir = tempfile::tempdir().unwrap();
        let pushed = Layout::create(dir.path()).unwrap().push("add", "1.0", b"0123456789", Shape::WasmToOci).unwrap();
        let layer = pushed.layer.digest.to_string();
        let registry = Registry::start(dir.path()).await.unwrap();
        registry.tamper(&layer).unwrap();
        let blob = format!("GET /v2/add/blobs/{layer}");
        let (status, head, body) = send_request(&registry, &blob, "").await;
        assert_eq!((status, body.as_str()), (200, "0123446789"));
        assert!(head.contains("content-length: 10") && head.contains(&layer), "{head}");
        assert_eq!(send_request(&registry, &blob, "Range: bytes=4-6\r\n").await.2, "446");
        let manifest = send_request(&registry, "GET /v2/add/manifests/1.0", "").await.2;
        assert_eq!(Digest::of(manifest.as_bytes()), pushed.manifest.digest);
        assert_eq!(registry.tamper("add").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let absent = Digest::of(b"absent").to_string();
        assert_eq!(registry.tamper(&absent).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn it_can_be_restarted_on_its_port() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        registry.fail_next(500, 1000);
        let port = registry.port();
        registry.stop().await;
        let registry = Registry::start_on(port, dir.path()).await.unwrap();
        assert_eq!((registry.port(), send_request(&registry, "GET /v2/", "").await.0), (port, 200));
        assert!(Registry::start_on(port, dir.path()).await.is_err());
    }

    #[tokio::test]
    async fn stopping_and_dropping_close_the_port() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        // An idle connection does not delay stopping.
        let mut idle = TcpStream::connect(registry.host()).await.unwrap();
        let host = registry.host();
        registry.stop().await;
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert!(TcpStream::connect(&host).await.is_err());

        let registry = Registry::start(dir.path()).await.unwrap();
        let mut idle = TcpStream::connect(registry.host()).await.unwrap();
        drop(registry);
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    }
}
