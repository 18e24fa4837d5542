//! Pushing artifacts by the OCI distribution API.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{
    Client, Method, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};

use crate::support::digest;

/// The media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What shows a registry who pushes.
#[derive(Clone)]
pub enum Auth {
    None,
    Basic { username: String, password: String },
    Bearer(String),
}

/// The digests of what was pushed, each `sha256:…`.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub module: String,
    pub manifest: String,
}

/// Someone who pushes to one registry.
#[derive(Clone)]
pub struct Pusher {
    client: Client,
    registry: Url,
    auth: Auth,
}

impl Pusher {
    /// Pushes to the registry at `url`, such as `http://127.0.0.1:5000`.
    pub fn new(url: &str, auth: Auth) -> Self {
        Self { client: client(None), registry: url.parse().expect("the registry's URL"), auth }
    }

    /// Trusts the registry that shows this PEM certificate.
    pub fn trusting(self, certificate: &str) -> Self {
        Self { client: client(Some(certificate)), ..self }
    }

    /// Pushes a module in the shape of wasm-to-oci.
    pub async fn wasm(&self, repository: &str, tag: &str, module: Bytes) -> Pushed {
        let config = Bytes::from_static(b"{}");
        let manifest = wasm_manifest(&module);
        self.blob(repository, config).await;
        let module = self.blob(repository, module).await;
        Pushed { module, manifest: self.manifest(repository, tag, &manifest, MANIFEST).await }
    }

    /// Pushes a manifest under a tag or a digest and returns its digest.
    pub async fn manifest(&self, repository: &str, reference: &str, manifest: &Value, media_type: &str) -> String {
        let bytes = manifest.to_string();
        let digest = digest(bytes.as_bytes());
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        send(self.request(Method::PUT, url).header(CONTENT_TYPE, media_type).body(bytes)).await;
        digest
    }

    /// Pushes a blob and returns its digest.
    pub async fn blob(&self, repository: &str, bytes: Bytes) -> String {
        let digest = digest(&bytes);
        let upload = send(self.request(Method::POST, self.url(&format!("/v2/{repository}/blobs/uploads/")))).await;
        let location = upload.headers()[LOCATION].to_str().expect("a location in ASCII");
        let mut url = self.url(location);
        url.query_pairs_mut().append_pair("digest", &digest);
        send(self.request(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream").body(bytes)).await;
        digest
    }

    fn url(&self, reference: &str) -> Url {
        self.registry.join(reference).expect("a URL of the registry")
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.auth {
            Auth::None => request,
            Auth::Basic { username, password } => request.basic_auth(username, Some(password)),
            Auth::Bearer(token) => request.bearer_auth(token),
        }
    }
}

/// Returns the manifest that wasm-to-oci writes for `module`: without a media type, with an empty config.
pub fn wasm_manifest(module: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.wasm.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.wasm.content.layer.v1+wasm", module)],
    })
}

/// Returns the descriptor of a blob.
pub fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(blob), "size": blob.len() })
}

/// Returns an HTTP client that follows no redirect and trusts the PEM certificate or nobody.
pub fn client(certificate: Option<&str>) -> Client {
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = certificate {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate in PEM");
        roots.add(der).expect("a certificate to trust");
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy();
    client.redirect(reqwest::redirect::Policy::none()).build().expect("an HTTP client")
}

async fn send(request: RequestBuilder) -> Response {
    let response = request.send().await.expect("an answer of the registry");
    let status = response.status();
    if status.is_success() {
        return response;
    }
    panic!("the registry refused the push: {status} {}", response.text().await.unwrap_or_default());
}
