//! Artifacts: manifests, indexes, and everything that they name.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::clients::push::{self, Pusher, descriptor};
use crate::support::digest;

const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A manifest or an index that can be pushed.
#[derive(Clone)]
pub struct Artifact {
    manifest: Value,
    media_type: &'static str,
    blobs: Vec<Bytes>,
    /// The manifests of an index with their media types, in the order in which they can be pushed.
    children: Vec<(Value, &'static str)>,
}

impl Artifact {
    /// An OCI manifest with this config, without layers.
    pub fn new(config_type: &str, config: &str) -> Self {
        let config_descriptor = descriptor(config_type, config.as_bytes());
        let blobs = vec![Bytes::copy_from_slice(config.as_bytes())];
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": push::MANIFEST, "config": config_descriptor, "layers": [] });
        Self { manifest, media_type: push::MANIFEST, blobs, children: Vec::new() }
    }

    /// An OCI image with this `config`, such as `{"Entrypoint": ["/app.wasm"]}`.
    pub fn image(config: &Value) -> Self {
        Self::new(IMAGE_CONFIG, &image_config(config))
    }

    /// An image as Docker has it.
    pub fn docker_image(config: &Value) -> Self {
        let mut image = Self::new(DOCKER_CONFIG, &image_config(config));
        image.media_type = DOCKER_MANIFEST;
        image.manifest["mediaType"] = DOCKER_MANIFEST.into();
        image
    }

    /// An artifact in the shape of wasm-to-oci.
    pub fn wasm(module: &[u8]) -> Self {
        let blobs = vec![Bytes::from_static(b"{}"), Bytes::copy_from_slice(module)];
        Self { manifest: push::wasm_manifest(module), media_type: push::MANIFEST, blobs, children: Vec::new() }
    }

    /// An OCI index of nothing.
    pub fn index() -> Self {
        Self::list(INDEX)
    }

    /// A manifest list, as Docker has it, of nothing.
    pub fn docker_list() -> Self {
        Self::list(DOCKER_LIST)
    }

    fn list(media_type: &'static str) -> Self {
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [] });
        Self { manifest, media_type, blobs: Vec::new(), children: Vec::new() }
    }

    /// Adds a layer.
    pub fn layer(mut self, media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.list_of("layers").push(descriptor(media_type, bytes));
        self.blobs.push(Bytes::copy_from_slice(bytes));
        self
    }

    /// Adds a layer that is the file `title`.
    pub fn file(self, title: &str, media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.layer(media_type, bytes).layer_annotated("org.opencontainers.image.title", title)
    }

    /// Annotates the last layer.
    pub fn layer_annotated(mut self, key: &str, value: &str) -> Self {
        self.list_of("layers").last_mut().expect("a layer")["annotations"][key] = value.into();
        self
    }

    /// Annotates the manifest.
    pub fn annotated(self, key: &str, value: &str) -> Self {
        let mut annotated = self;
        annotated.manifest["annotations"][key] = value.into();
        annotated
    }

    /// Sets its `artifactType`.
    pub fn kind(mut self, artifact_type: &str) -> Self {
        self.manifest["artifactType"] = artifact_type.into();
        self
    }

    /// Sets its `subject`.
    pub fn about(mut self, subject: &Self) -> Self {
        self.manifest["subject"] = subject.descriptor();
        self
    }

    /// Adds a manifest to an index, for a platform such as `wasi/wasm`.
    pub fn with(self, platform: &str, child: Self) -> Self {
        let (os, architecture) = platform.split_once('/').expect("os/architecture");
        let mut index = self.with_any(child);
        let entry = index.list_of("manifests").last_mut().expect("the child");
        entry["platform"] = json!({ "os": os, "architecture": architecture });
        index
    }

    /// Adds a manifest to an index, for no platform.
    pub fn with_any(mut self, child: Self) -> Self {
        self.list_of("manifests").push(child.descriptor());
        self.blobs.extend(child.blobs);
        self.children.extend(child.children);
        self.children.push((child.manifest, child.media_type));
        self
    }

    /// Adds what `docker build` attests about the manifest before.
    pub fn with_attestation(mut self) -> Self {
        let about = self.list_of("manifests").last().expect("a child")["digest"].clone();
        let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "subject": [], "about": about });
        let attestation =
            Self::image(&json!({})).layer("application/vnd.in-toto+json", statement.to_string().as_bytes());
        let mut index = self.with("unknown/unknown", attestation);
        index.list_of("manifests").last_mut().expect("the attestation")["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about,
        });
        index
    }

    fn list_of(&mut self, field: &str) -> &mut Vec<Value> {
        self.manifest[field].as_array_mut().expect("a list")
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> String {
        digest(self.manifest.to_string().as_bytes())
    }

    /// Returns the descriptor of the manifest.
    fn descriptor(&self) -> Value {
        let mut entry = descriptor(self.media_type, self.manifest.to_string().as_bytes());
        if let Some(kind) = self.manifest.get("artifactType") {
            entry["artifactType"] = kind.clone();
        }
        entry
    }

    /// Pushes it with everything that it names.
    pub async fn push(&self, pusher: &Pusher, repository: &str, tag: &str) {
        for blob in &self.blobs {
            pusher.blob(repository, blob.clone()).await;
        }
        for (manifest, media_type) in &self.children {
            let digest = digest(manifest.to_string().as_bytes());
            pusher.manifest(repository, &digest, manifest, media_type).await;
        }
        pusher.manifest(repository, tag, &self.manifest, self.media_type).await;
    }
}

fn image_config(config: &Value) -> String {
    let rootfs = json!({ "type": "layers", "diff_ids": [] });
    json!({ "architecture": "wasm", "os": "wasip1", "config": config, "rootfs": rootfs }).to_string()
}
