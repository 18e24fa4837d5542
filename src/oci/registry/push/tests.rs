use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::response::Builder;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::oci::artifact::Shape;
use crate::oci::digest::Digest;
use crate::oci::options::{Credentials, RegistryOptions};
use crate::oci::reference::Reference;
use crate::oci::registry::Registry;
use crate::util::fair::Party;
use crate::util::sync::lock;

const HERE: &str = "/v2/acme/add/uploads/1?state=a%2Fb";

/// A registry that takes pushes to `acme/add`.
struct Peer {
    host: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    host: String,
    /// The upload location.
    location: String,
    /// Whether it requires a token of its token service.
    is_guarded: bool,
    received: Mutex<Received>,
}

#[derive(Default)]
struct Received {
    /// Method and path with query, and `Authorization`.
    requests: Vec<(String, Option<String>)>,
    /// Bodies by digest, and their media types.
    stored: HashMap<String, (Bytes, String)>,
    /// Statuses of the next responses to a method, in place of the usual ones.
    failures: VecDeque<(Method, u16)>,
}

impl Peer {
    async fn start(location: &str, guarded: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let location = location.replace("HOST", &host);
        let shared = Arc::new(Shared { host: host.clone(), location, is_guarded: guarded, received: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { host, shared, _server: server }
    }

    fn fail(&self, answers: &[(Method, u16)]) {
        lock(&self.shared.received).failures.extend(answers.iter().cloned());
    }

    fn take_requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut lock(&self.shared.received).requests)
    }

    fn stored(&self, packed: &Packed) -> Option<(Bytes, String)> {
        lock(&self.shared.received).stored.get(&packed.digest.to_string()).cloned()
    }

    /// A client of this registry, whose operator named others, too.
    fn client(&self, allow: &str) -> (Registry, Reference) {
        let credentials = Credentials::Basic { username: "ada".into(), password: "lovelace".into() };
        let options = RegistryOptions { credentials, ..RegistryOptions::for_tests(&self.host).allow(allow) };
        let reference = Reference::parse("acme/add:1.0", &options.url).unwrap();
        (Registry::new(&options).unwrap(), reference)
    }

    async fn push(&self, artifact: &Artifact) -> Result<Descriptor, Error> {
        let (registry, reference) = self.client("");
        registry.repository(&reference, Party::default()).await?.push(artifact, &reference.version).await
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let authorization = header(AUTHORIZATION);
    let answer = |status: u16| Builder::new().status(status);
    let mut received = lock(&shared.received);
    received.requests.push((format!("{} {}", parts.method, parts.uri), authorization.clone()));
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    if path == "/token" {
        return answer(200).body(Body::from(r#"{"token": "good"}"#)).unwrap();
    }
    if shared.is_guarded && authorization.as_deref() != Some("Bearer good") {
        let realm = format!("http://{}/token", shared.host);
        let challenge = format!(r#"Bearer realm="{realm}",service="it",scope="repository:acme/add:pull""#);
        return answer(401).header(WWW_AUTHENTICATE, challenge).body(Body::empty()).unwrap();
    }
    if received.failures.front().is_some_and(|(method, _)| *method == parts.method)
        && let Some((_, status)) = received.failures.pop_front()
    {
        let error = r#"{"errors": [{"code": "DENIED", "message": "not today"}]}"#;
        return answer(status).body(Body::from(error)).unwrap();
    }
    let object = path.rsplit('/').next().unwrap();
    let response = match parts.method {
        Method::HEAD => answer(if received.stored.contains_key(object) { 200 } else { 404 }),
        Method::POST => answer(202).header(LOCATION, &shared.location),
        Method::PUT => {
            let digest = Digest::of(&body).to_string();
            let is_whole =
                path.contains("/manifests/") || query.ends_with(&format!("digest={}", digest.replace(':', "%3A")));
            received.stored.insert(digest, (body, header(CONTENT_TYPE).unwrap()));
            answer(if is_whole { 201 } else { 400 })
        }
        _ => answer(404),
    };
    response.body(Body::empty()).unwrap()
}

fn artifact() -> Artifact {
    Artifact::pack(vec![7; 300_000], Shape::WasmArtifact, "add.wasm")
}

/// Method and path of requests without their digests.
fn lines(requests: &[(String, Option<String>)]) -> Vec<&str> {
    let line = |(line, _): &'_ (String, _)| -> usize { line.find("sha256").unwrap_or(line.len()) };
    requests.iter().map(|request| &request.0[..line(request)]).collect()
}

#[tokio::test]
async fn what_is_missing_is_uploaded_before_the_manifest() {
    for (location, upload) in [
        (HERE, "PUT /v2/acme/add/uploads/1?state=a%2Fb&digest="),
        ("http://HOST/elsewhere", "PUT /elsewhere?digest="),
        ("1", "PUT /v2/acme/add/blobs/uploads/1?digest="),
    ] {
        let (peer, artifact) = (Peer::start(location, false).await, artifact());
        assert_eq!(peer.push(&artifact).await.unwrap(), artifact.manifest.descriptor());
        let (head, post, manifest) =
            ("HEAD /v2/acme/add/blobs/", "POST /v2/acme/add/blobs/uploads/", "PUT /v2/acme/add/manifests/1.0");
        assert_eq!(lines(&peer.take_requests()), [head, post, upload, head, post, upload, manifest]);
        for (packed, media_type) in
            [(&artifact.config, BYTES), (&artifact.layer, BYTES), (&artifact.manifest, artifact.manifest.media_type)]
        {
            assert_eq!(peer.stored(packed), Some((packed.bytes.clone(), media_type.to_owned())));
        }
        peer.push(&artifact).await.unwrap();
        assert_eq!(lines(&peer.take_requests()), [head, head, manifest]);
    }
}

#[tokio::test]
async fn a_token_for_pulling_is_not_one_for_pushing() {
    let peer = Peer::start(HERE, true).await;
    let (registry, reference) = peer.client("");
    let repository = registry.repository(&reference, Party::default()).await.unwrap();
    repository.manifest("1.0").await.unwrap_err();
    repository.push(&artifact(), &reference.version).await.unwrap();
    repository.push(&artifact(), &reference.version).await.unwrap();
    let requests = peer.take_requests();
    let tokens: Vec<_> = requests.iter().filter(|(line, _)| line.contains("/token")).collect();
    let [(pull, _), (push, shown)] = tokens.as_slice() else { panic!("{tokens:?}") };
    assert!(pull.ends_with("scope=repository%3Aacme%2Fadd%3Apull"), "{pull}");
    assert!(push.ends_with("scope=repository%3Aacme%2Fadd%3Apull%2Cpush"), "{push}");
    assert!(shown.as_ref().is_some_and(|shown| shown.starts_with("Basic ")), "{shown:?}");
}

#[tokio::test]
async fn uploads_elsewhere_go_without_credentials_and_where_the_operator_permits() {
    let elsewhere = Peer::start(HERE, false).await;
    let peer = Peer::start(&format!("http://{}/there", elsewhere.host), true).await;
    let denied = peer.push(&artifact()).await.unwrap_err();
    assert_eq!(denied.code(), "denied");
    assert!(denied.to_string().contains("while pushing: 127.0.0.1 is not"), "{denied}");
    assert!(elsewhere.take_requests().is_empty());

    let (registry, reference) = peer.client(&format!("127.0.0.1:1,{}/other", elsewhere.host));
    let repository = registry.repository(&reference, Party::default()).await.unwrap();
    repository.push(&artifact(), &reference.version).await.unwrap();
    let requests = elsewhere.take_requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|(line, shown)| line.starts_with("PUT /there?") && shown.is_none()), "{requests:?}");
}

#[tokio::test]
async fn refusals_say_that_it_was_a_push() {
    for (answers, code) in [
        (&[(Method::POST, 403)][..], "unauthorized"),
        (&[(Method::POST, 404)], "unknown-image"),
        (&[(Method::POST, 200)], "registry-answer"),
        (&[(Method::POST, 307)], "registry-answer"),
        (&[(Method::PUT, 202)], "registry-answer"),
        (&[(Method::PUT, 413)], "registry-answer"),
        (&[(Method::HEAD, 403)], "unauthorized"),
    ] {
        let peer = Peer::start(HERE, false).await;
        peer.fail(answers);
        let error = peer.push(&artifact()).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains("while pushing"), "{answers:?}: {error}");
        assert!(peer.stored(&artifact().manifest).is_none());
    }
    let nowhere = Peer::start("ftp://HOST/", false).await;
    assert_eq!(nowhere.push(&artifact()).await.unwrap_err().code(), "registry-answer");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let peer = Peer::start(HERE, false).await;
    peer.fail(&[(Method::HEAD, 503), (Method::PUT, 500), (Method::POST, 429)]);
    peer.push(&artifact()).await.unwrap();
    assert_eq!(peer.stored(&artifact().layer).unwrap().0, artifact().layer.bytes);
}

#[tokio::test]
async fn another_digest_is_refused_before_anything_is_asked() {
    let peer = Peer::start(HERE, false).await;
    let (registry, reference) = peer.client("");
    let repository = registry.repository(&reference, Party::default()).await.unwrap();
    let other = Version::Digest(Digest::of(b"other"));
    assert_eq!(repository.push(&artifact(), &other).await.unwrap_err().code(), "digest-mismatch");
    assert!(peer.take_requests().is_empty());
    let own = Version::Digest(artifact().manifest.digest);
    repository.push(&artifact(), &own).await.unwrap();
    assert!(peer.take_requests().last().unwrap().0.starts_with("PUT /v2/acme/add/manifests/sha256:"));
}
