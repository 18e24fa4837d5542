//! A registry with a token service in front, as public registries have it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{self, StatusCode, Uri, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use reqwest::{Client, Url};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    docker_registry::{Auth, DockerRegistry},
    push::{self, Pushed, Pusher},
};

const SERVICE: &str = "registry of the tests";
const ISSUER: &str = "token service of the tests";

/// How a token service differs from one that serves a single user.
pub struct Options<'a> {
    pub username: &'a str,
    pub password: &'a str,
    /// Gives tokens for pulling to those who show no credentials, too.
    pub anonymous_pull: bool,
    /// How long a token is said to last; the registry itself takes it for one more minute.
    pub lifetime: Duration,
}

/// A registry that takes only the tokens of its token service, both on one port of 127.0.0.1.
pub struct TokenRegistry {
    host: String,
    service: Arc<Service>,
    registry: DockerRegistry,
    _front: JoinSet<()>,
}

impl TokenRegistry {
    /// Starts a registry for one user.
    pub async fn start(username: &str, password: &str) -> Self {
        Self::with(Options { username, password, anonymous_pull: false, lifetime: Duration::from_secs(300) }).await
    }

    /// Starts a registry.
    pub async fn with(options: Options<'_>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the token service");
        let host = listener.local_addr().expect("the token service's address").to_string();
        let (signer, certificate) = Signer::new();
        let realm = format!("http://{host}/token");
        let auth = Auth::Token { realm: &realm, service: SERVICE, issuer: ISSUER, certificate: &certificate };
        let registry = DockerRegistry::with(auth, None).await;

        let service = Arc::new(Service {
            credentials: basic(options.username, options.password),
            anonymous_pull: options.anonymous_pull,
            lifetime: options.lifetime,
            signer,
            requests: AtomicUsize::new(0),
            registry: registry.url(),
            client: push::client(None),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
        let mut front = JoinSet::new();
        front.spawn(async { axum::serve(listener, router).await.expect("serve tokens") });
        Self { host, service, registry, _front: front }
    }

    /// Returns `127.0.0.1:PORT`, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Returns how often a token was asked for, in vain or not.
    pub fn token_requests(&self) -> usize {
        self.service.requests.load(Ordering::Relaxed)
    }

    /// Pushes a module in the shape of wasm-to-oci, past the token service.
    pub async fn push(&self, repository: &str, tag: &str, module: Bytes) -> Pushed {
        let token = self.service.token(&[&format!("repository:{repository}:pull,push")], true);
        Pusher::new(&self.registry.url(), push::Auth::Bearer(token)).wasm(repository, tag, module).await
    }
}

struct Service {
    credentials: String,
    anonymous_pull: bool,
    lifetime: Duration,
    signer: Signer,
    requests: AtomicUsize,
    registry: String,
    client: Client,
}

impl Service {
    fn answer_token(&self, request: &Request) -> Response {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let known = match request.headers().get(AUTHORIZATION) {
            Some(shown) if shown == self.credentials.as_str() => true,
            None if self.anonymous_pull => false,
            _ => return (StatusCode::UNAUTHORIZED, errors("UNAUTHORIZED", "wrong credentials")).into_response(),
        };
        let url = Url::parse(&format!("http://front{}", request.uri())).expect("the URL of a token request");
        let scopes: Vec<_> = url.query_pairs().filter(|(key, _)| key == "scope").map(|(_, scope)| scope).collect();
        let scopes: Vec<_> = scopes.iter().flat_map(|scope| scope.split(' ')).collect();
        let answer = json!({ "token": self.token(&scopes, known), "expires_in": self.lifetime.as_secs() });
        answer.to_string().into_response()
    }

    /// Returns a token for `scopes`, or for their share of pulling.
    fn token(&self, scopes: &[&str], push: bool) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
        self.signer.sign(&json!({
            "iss": ISSUER,
            "sub": "",
            "aud": SERVICE,
            "exp": (now + self.lifetime).as_secs(),
            "nbf": now.as_secs(),
            "iat": now.as_secs(),
            "jti": now.as_nanos().to_string(),
            "access": scopes.iter().filter_map(|scope| access(scope, push)).collect::<Vec<_>>(),
        }))
    }

    /// Hands a request to the registry behind, under the host name that the client used.
    async fn forward(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("{}{}", self.registry, parts.uri).parse::<Uri>().expect("a URL of the registry");
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        let request = http::Request::from_parts(parts, body).try_into().expect("a request for the registry");
        match self.client.execute(request).await {
            Ok(response) => http::Response::from(response).map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, errors("UNAVAILABLE", &error.to_string())).into_response(),
        }
    }
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    if request.uri().path() == "/token" { service.answer_token(&request) } else { service.forward(request).await }
}

/// Reads a scope such as `repository:group/name:pull,push` into a claim of access.
fn access(scope: &str, push: bool) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<_> = actions.split(',').filter(|action| push || *action == "pull").collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode_to_string(format!("{username}:{password}")))
}

fn errors(code: &str, message: &str) -> String {
    json!({ "errors": [{ "code": code, "message": message }] }).to_string()
}

/// Signs tokens that a registry accepts who knows the signer's certificate.
struct Signer {
    key: EcdsaKeyPair,
    header: String,
}

impl Signer {
    /// Returns a signer and its certificate in PEM.
    fn new() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed([ISSUER.to_owned()]).expect("the signer's certificate");
        let key = made.signing_key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &SystemRandom::new());
        let chain = [STANDARD.encode_to_string(made.cert.der())];
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": chain });
        (Self { key: key.expect("a P-256 key"), header: encode(header.to_string()) }, made.cert.pem())
    }

    /// Returns the claims as a JSON Web Token (RFC 7515, compact serialization).
    fn sign(&self, claims: &Value) -> String {
        let text = format!("{}.{}", self.header, encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("sign a token");
        format!("{text}.{}", encode(signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}
