//! A registry with a token service in front, as public registries have it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router, body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use reqwest::Url;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::support::clients::push::{self, Pushed, Pusher};
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::front::Front;

const SERVICE: &str = "registry of the tests";
const ISSUER: &str = "token service of the tests";

/// How a token service differs from one that serves a single user.
pub struct Options<'a> {
    pub username: &'a str,
    pub password: &'a str,
    /// Gives tokens for pulling to those who show no credentials, too.
    pub anonymous_pull: bool,
    /// `expires_in` of a token; the registry itself accepts it for one more minute.
    pub lifetime: Duration,
}

/// A request for a token as the service saw it.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub method: Method,
    pub authorization: Option<String>,
    /// The query's parameters, or the form's if it is a POST.
    pub parameters: Vec<(String, String)>,
}

impl TokenRequest {
    /// Returns the parameter's value, or nothing if there is none.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Returns every requested scope.
    pub fn scopes(&self) -> Vec<&str> {
        let scopes = self.parameters.iter().filter(|(key, _)| key == "scope");
        scopes.flat_map(|(_, scope)| scope.split(' ')).collect()
    }

    /// Returns what is to show that the client is known: `Basic …`, or a refresh token (OAuth 2.0, RFC 6749 section 6).
    fn shown(&self) -> Option<&str> {
        match self.method {
            Method::POST if self.parameter("grant_type") == "refresh_token" => Some(self.parameter("refresh_token")),
            Method::POST => Some(""),
            _ => self.authorization.as_deref(),
        }
    }
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

    /// Starts a registry for one user, from which everyone may pull.
    pub async fn public(username: &str, password: &str) -> Self {
        Self::with(Options { username, password, anonymous_pull: true, lifetime: Duration::from_secs(300) }).await
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
            admitted: Mutex::new(vec![basic(options.username, options.password)]),
            anonymous_pull: options.anonymous_pull,
            lifetime: options.lifetime,
            signer,
            requests: Mutex::default(),
            issued: Mutex::default(),
            revoked: AtomicUsize::new(0),
            without_blobs: AtomicBool::new(false),
            front: Front::before(&registry),
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

    /// Returns the number of requests for tokens, failed ones included.
    pub fn token_requests(&self) -> usize {
        self.requests().len()
    }

    /// Returns every request for a token so far, the oldest first.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.service.requests.lock().expect("the token requests").clone()
    }

    /// Returns the tokens that were given to clients so far.
    pub fn issued(&self) -> Vec<String> {
        self.service.issued.lock().expect("the tokens").clone()
    }

    /// Gives tokens to one more user.
    pub fn admit_user(&self, username: &str, password: &str) {
        self.admit(basic(username, password));
    }

    /// Gives tokens to those who show this identity token.
    pub fn admit_identity(&self, token: &str) {
        self.admit(token.to_owned());
    }

    fn admit(&self, shown: String) {
        self.service.admitted.lock().expect("the known clients").push(shown);
    }

    /// Refuses the tokens given so far.
    pub fn revoke(&self) {
        self.service.revoked.store(self.issued().len(), Relaxed);
    }

    /// Refuses every token, also those to come.
    pub fn revoke_for_good(&self) {
        self.service.revoked.store(usize::MAX, Relaxed);
    }

    /// Answers from now on that there is no such blob.
    pub fn lose_blobs(&self) {
        self.service.without_blobs.store(true, Relaxed);
    }

    /// Pushes a module in the shape of wasm-to-oci, past the token service.
    pub async fn push(&self, repository: &str, tag: &str, module: Bytes) -> Pushed {
        let token = self.service.token(&[&format!("repository:{repository}:pull,push")], true);
        Pusher::new(&self.registry.url(), push::Auth::Bearer(token)).wasm(repository, tag, module).await
    }
}

struct Service {
    /// Values of `Authorization`, and refresh tokens.
    admitted: Mutex<Vec<String>>,
    anonymous_pull: bool,
    lifetime: Duration,
    signer: Signer,
    requests: Mutex<Vec<TokenRequest>>,
    issued: Mutex<Vec<String>>,
    /// So many of the tokens that were issued first are refused.
    revoked: AtomicUsize,
    without_blobs: AtomicBool,
    front: Front,
}

impl Service {
    async fn answer_token(&self, request: Request) -> Response {
        let request = read(request).await;
        self.requests.lock().expect("the token requests").push(request.clone());
        let known = match request.shown() {
            Some(shown) if self.admitted.lock().expect("the known clients").iter().any(|known| known == shown) => true,
            None if self.anonymous_pull => false,
            _ => return (StatusCode::UNAUTHORIZED, errors("UNAUTHORIZED", "wrong credentials")).into_response(),
        };
        let token = self.token(&request.scopes(), known);
        self.issued.lock().expect("the tokens").push(token.clone());
        let name = if request.method == Method::POST { "access_token" } else { "token" };
        json!({ name: token, "expires_in": self.lifetime.as_secs() }).to_string().into_response()
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

    /// Whether the request bears a token that was revoked.
    fn rejects(&self, headers: &HeaderMap) -> bool {
        let issued = self.issued.lock().expect("the tokens");
        let shown = header(headers).and_then(|shown| shown.strip_prefix("Bearer ").map(str::to_owned));
        issued.iter().take(self.revoked.load(Relaxed)).any(|token| Some(token) == shown.as_ref())
    }

    /// Hands a request to the registry, unless there is something against it.
    async fn forward(&self, mut request: Request) -> Response {
        if self.without_blobs.load(Relaxed) && request.uri().path().contains("/blobs/") {
            return (StatusCode::NOT_FOUND, errors("BLOB_UNKNOWN", "blob unknown to registry")).into_response();
        }
        if self.rejects(request.headers()) {
            request.headers_mut().remove(AUTHORIZATION);
        }
        self.front.forward(request).await
    }
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    if request.uri().path() == "/token" { service.answer_token(request).await } else { service.forward(request).await }
}

async fn read(request: Request) -> TokenRequest {
    const LIMIT: usize = 64 << 10;
    let (parts, body) = request.into_parts();
    let form = body::to_bytes(body, LIMIT).await.expect("the form of a token request");
    let pairs = match parts.method {
        Method::POST => String::from_utf8(form.into()).expect("a form in UTF-8"),
        _ => parts.uri.query().unwrap_or_default().to_owned(),
    };
    let url = Url::parse(&format!("http://front/?{pairs}")).expect("the parameters of a token request");
    TokenRequest {
        method: parts.method,
        authorization: header(&parts.headers),
        parameters: url.query_pairs().into_owned().collect(),
    }
}

fn header(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(AUTHORIZATION)?.to_str().ok()?.to_owned())
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
