//! Modules pushed by the library to a real registry, in every shape, and pulled again by it and by a daemon.

use std::ffi::OsString;

use bytes::Bytes;
use propeller_proxy::config::{self, Sources};
use propeller_proxy::embedded::sample;
use propeller_proxy::oci::artifact::{Artifact, Shape};
use propeller_proxy::oci::digest::Digest;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::pull::Puller;
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::oci::store::StoreOptions;
use propeller_proxy::service::ServiceOptions;
use tempfile::TempDir;

use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Tls;
use crate::support::servers::token_service::{TokenRegistry, TokenRequest};
use crate::support::{Variable, login, path};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A client of registries with a store of its own.
struct Client {
    puller: Puller,
    registry: RegistryOptions,
    _store: TempDir,
}

impl Client {
    /// A client of these `variables`, whose own registry is at `registry`.
    fn of(registry: &str, variables: &[Variable]) -> Self {
        let folder = tempfile::tempdir().expect("a folder of the store");
        let config = config::load::<ServiceOptions>(&Sources::of_variables(|name| match name {
            "PROXY_REGISTRY_URL" => Some(registry.into()),
            "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" => Some("unused".into()),
            name => variables.iter().find(|(given, _)| *given == name).map(|(_, value)| OsString::from(value)),
        }));
        let registry = config.expect("a configuration of the client").registry;
        let store = StoreOptions { folder: folder.path().to_owned(), is_named: true, limit: 1 << 30 };
        let puller = Puller::new(&registry, &store).expect("a client of registries");
        Self { puller, registry, _store: folder }
    }

    fn reference(&self, name: &str) -> Reference {
        Reference::parse(name, &self.registry.url).expect("a reference")
    }

    /// Pushes, and returns the manifest's digest or the error's code and text.
    async fn push(&self, name: &str, artifact: &Artifact) -> Result<Digest, (&'static str, String)> {
        let pushed = self.puller.push(&self.reference(name), artifact).await;
        pushed.map(|manifest| manifest.digest).map_err(|error| (error.code(), error.to_string()))
    }
}

fn pack(module: &[u8]) -> Artifact {
    Artifact::pack(Bytes::copy_from_slice(module), Shape::WasmArtifact, "app.wasm")
}

/// Sees a push fail with this code, saying that it was a push.
async fn rejects(client: &Client, name: &str, code: &str) {
    let (found, text) = client.push(name, &pack(&sample::ADD)).await.expect_err("a refusal");
    assert!(found == code && text.contains("while pushing"), "{name}: {found}, {text}");
}

#[tokio::test]
async fn every_pushed_shape_is_delivered() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[]).await;
    let client = Client::of(registry.host(), &[]);
    for (shape, seed) in Shape::ALL.into_iter().zip(0..) {
        let module = sample::noise(700_000, seed);
        let artifact = Artifact::pack(module.clone(), shape, "app.wasm");
        let (tagged, digest) = (format!("acme/{shape}:1.0"), artifact.manifest.digest);
        assert_eq!(client.push(&tagged, &artifact).await, Ok(digest), "{shape}");
        assert_eq!(client.push(&format!("acme/{shape}@{digest}"), &artifact).await, Ok(digest), "{shape} again");
        site.delivers(&tagged, &module).await;
        site.delivers(&format!("acme/{shape}@{digest}"), &module).await;

        let reference = client.reference(&tagged);
        let resolved = client.puller.resolve(&reference).await.expect("what was pushed");
        assert_eq!((resolved.media_type.as_str(), resolved.digest), (MANIFEST, digest));
        assert_eq!(resolved.size, artifact.manifest.bytes.len() as u64);
        let pulled = client.puller.pull(&reference).await.expect("what was pushed");
        assert_eq!((pulled.root, pulled.shape, pulled.layer), (digest, shape.name(), artifact.layer.descriptor()));
        assert_eq!(pulled.module.digest(), Digest::of(&module));
    }
}

#[tokio::test]
async fn pushing_sends_basic_credentials() {
    let registry = DockerRegistry::with(Auth::Htpasswd { username: "ada", password: "lovelace: 1815" }, None).await;
    let variables = login("ada", "lovelace: 1815");
    let module = sample::noise(100_000, 0);
    Client::of(registry.host(), &variables).push("app", &pack(&module)).await.expect("a push");
    Site::start(registry.host(), &variables).await.delivers("app", &module).await;
    for variables in [&login("ada", "wrong")[..], &[]] {
        rejects(&Client::of(registry.host(), variables), "app", "unauthorized").await;
    }
}

#[tokio::test]
async fn pushing_requests_a_token_with_push_scope() {
    let registry = TokenRegistry::public("ada", "lovelace").await;
    let module = sample::noise(100_000, 0);
    let client = Client::of(registry.host(), &login("ada", "lovelace"));
    // What was unknown a moment ago is known after the push, and the token for pulling is of no use for it.
    let reference = client.reference("acme/app:1.0");
    assert_eq!(client.puller.pull(&reference).await.expect_err("nothing yet").code(), "unknown-image");
    client.push("acme/app:1.0", &pack(&module)).await.expect("a push");
    client.push("acme/app:2.0", &pack(&module)).await.expect("another push");
    let pulled = client.puller.pull(&reference).await.expect("what was pushed");
    assert_eq!(pulled.module.digest(), Digest::of(&module));
    let asked = registry.requests();
    let scopes: Vec<_> = asked.iter().flat_map(TokenRequest::scopes).collect();
    assert_eq!(scopes, ["repository:acme/app:pull", "repository:acme/app:pull,push"]);

    Site::start(registry.host(), &[]).await.delivers("acme/app:1.0", &module).await;
    // The service gives a stranger a token, but only for pulling.
    rejects(&Client::of(registry.host(), &[]), "acme/app:1.0", "unauthorized").await;
    rejects(&Client::of(registry.host(), &login("ada", "wrong")), "acme/app:1.0", "unauthorized").await;
}

#[tokio::test]
async fn pushing_trusts_a_private_certificate_authority() {
    let (tls, folder) = (Tls::self_signed(), tempfile::tempdir().expect("a folder for the certificate"));
    let registry = DockerRegistry::with(Auth::None, Some(&tls)).await;
    let (certificate, _) = tls.write(folder.path());
    let variables = [("PROXY_REGISTRY_CA_CERT", path(&certificate))];
    let module = sample::noise(3_000_000, 0);
    Client::of(&registry.url(), &variables).push("app", &pack(&module)).await.expect("a push");
    Site::start(&registry.url(), &variables).await.delivers("app", &module).await;
    rejects(&Client::of(&registry.url(), &[]), "app", "registry-unreachable").await;
}

#[tokio::test]
async fn an_invalid_push_sends_no_request() {
    let registry = DockerRegistry::start().await;
    let other = DockerRegistry::start().await;
    let allowed = format!("{}/acme/*", registry.host());
    let variables = [("PROXY_REGISTRY_ALLOW", &*allowed), ("PROXY_MAX_MODULE_SIZE", "1KiB")];
    let client = Client::of(registry.host(), &variables);
    let small = pack(&sample::ADD);
    let zeros = format!("acme/app@sha256:{}", "0".repeat(64));
    for (name, artifact, code) in [
        ("app", &small, "denied"),
        (&*format!("{}/acme/app", other.host()), &small, "denied"),
        (&*zeros, &small, "digest-mismatch"),
        ("acme/app", &pack(&sample::noise(1025, 0)), "too-large"),
    ] {
        let (found, text) = client.push(name, artifact).await.expect_err("a refusal");
        assert_eq!(found, code, "{name}: {text}");
    }
    for registry in [&registry, &other] {
        assert!(!registry.log().contains("/v2/"), "it was asked: {}", registry.log());
    }
    client.push("acme/app", &small).await.expect("what may be pushed");
}
