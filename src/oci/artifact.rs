//! How a module is packed into an artifact, in the shapes in which Wasm is published (OCI image specification, "Image
//! Manifest").

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::Header;

use crate::oci::blob::Descriptor;
use crate::oci::digest::{Digest, Hasher};
use crate::oci::wasm::COMPONENT_PREAMBLE;

/// The media type of an image manifest.
pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an image index.
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of the CNCF's "Wasm OCI Artifact layout".
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The layer of wasm-to-oci.
pub(crate) const CONTENT_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// The layer of Envoy and Istio.
pub(crate) const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";

/// The module's name in an image.
const IMAGE_FILE: &str = "plugin.wasm";
/// A constant, so that equal modules have equal manifests.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// Tar is made of blocks of so many bytes, and ends with two empty ones (POSIX.1-2001, "pax", "ustar Interchange
/// Format").
const TAR_BLOCK: usize = 512;

/// How a module is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As the tool wasm-to-oci packs: an empty configuration, and a manifest that does not name its own media type.
    WasmToOci,
    /// As the CNCF's "Wasm OCI Artifact layout" specifies.
    WasmArtifact,
    /// The format `oci` of Envoy and Istio: a layer of the module, and an empty configuration.
    Envoy,
    /// As `docker build` packs `FROM scratch` and `COPY plugin.wasm`: the layer is an archive.
    Image,
    /// As `oras push` packs a file without a given media type.
    Untyped,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 5] = [Self::WasmToOci, Self::WasmArtifact, Self::Envoy, Self::Image, Self::Untyped];

    /// Its name in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WasmToOci => "wasm-to-oci",
            Self::WasmArtifact => "wasm-artifact",
            Self::Envoy => "envoy",
            Self::Image => "image",
            Self::Untyped => "untyped",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Shape {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|shape| shape.name() == name).ok_or(())
    }
}

/// A blob or manifest, as a registry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Their media type.
    pub media_type: &'static str,
    /// The bytes themselves.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub digest: Digest,
}

impl Packed {
    fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type, digest: Digest::of(&bytes), bytes }
    }

    /// A JSON object with its names in alphabetical order: maps sort them or keep their order, depending on how
    /// `serde_json` is built, which must not change digests.
    fn json(media_type: &'static str, content: &Value) -> Self {
        Self::new(media_type, content.to_string())
    }

    /// Their descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        let (digest, size) = (self.digest, self.bytes.len() as u64);
        Descriptor { digest, size, media_type: self.media_type.to_owned() }
    }
}

/// A module, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The configuration.
    pub config: Packed,
    /// The module, or an archive with it.
    pub layer: Packed,
    /// The manifest of both.
    pub manifest: Packed,
}

impl Artifact {
    /// Packs `wasm`, whatever its bytes are. Clients that save the module give it the name of the repository.
    #[must_use]
    pub fn pack_for(repository: &str, wasm: impl Into<Bytes>, shape: Shape) -> Self {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        Self::pack(wasm, shape, &format!("{name}.wasm"))
    }

    /// Packs `wasm`, whatever its bytes are. Equal modules of one shape and title have equal manifests.
    ///
    /// `title` is the file name that clients give a layer when they save it; an image has none, and an empty one is
    /// omitted.
    #[must_use]
    pub fn pack(wasm: impl Into<Bytes>, shape: Shape, title: &str) -> Self {
        let wasm = wasm.into();
        let os = if wasm.starts_with(&COMPONENT_PREAMBLE) { "wasip2" } else { "wasip1" };
        let (config, layer) = match shape {
            Shape::WasmToOci => {
                (Packed::json("application/vnd.wasm.config.v1+json", &json!({})), Packed::new(CONTENT_LAYER, wasm))
            }
            Shape::WasmArtifact => {
                let layer = Packed::new("application/wasm", wasm);
                let digests = [layer.digest];
                let config = json!({"architecture": "wasm", "created": CREATED, "layerDigests": digests, "os": os});
                (Packed::json(WASM_CONFIG, &config), layer)
            }
            Shape::Envoy => (
                Packed::json("application/vnd.module.wasm.config.v1+json", &json!({})),
                Packed::new(MODULE_LAYER, wasm),
            ),
            Shape::Image => {
                let (layer, diff_id) = archive(&wasm);
                let config = json!({
                    "architecture": "wasm",
                    "config": {"Entrypoint": [format!("/{IMAGE_FILE}")]},
                    "created": CREATED,
                    "os": os,
                    "rootfs": {"diff_ids": [diff_id], "type": "layers"},
                });
                (Packed::json("application/vnd.oci.image.config.v1+json", &config), layer)
            }
            Shape::Untyped => (
                Packed::json("application/vnd.oci.empty.v1+json", &json!({})),
                Packed::new("application/vnd.oci.image.layer.v1.tar", wasm),
            ),
        };
        let title = Some(title).filter(|title| shape != Shape::Image && !title.is_empty());
        let mut manifest = BTreeMap::from([
            ("config", entry(&config, None)),
            ("layers", json!([entry(&layer, title)])),
            ("schemaVersion", json!(2)),
        ]);
        if shape == Shape::Untyped {
            manifest.insert("artifactType", json!("application/vnd.unknown.artifact.v1"));
        }
        if shape != Shape::WasmToOci {
            manifest.insert("mediaType", json!(IMAGE_MANIFEST));
        }
        Self { manifest: Packed::json(IMAGE_MANIFEST, &json!(manifest)), config, layer }
    }
}

/// The descriptor of `packed` in a manifest.
fn entry(packed: &Packed, title: Option<&str>) -> Value {
    let Packed { media_type, bytes, digest } = packed;
    let mut entry =
        BTreeMap::from([("digest", json!(digest)), ("mediaType", json!(media_type)), ("size", json!(bytes.len()))]);
    if let Some(title) = title {
        entry.insert("annotations", json!({ "org.opencontainers.image.title": title }));
    }
    json!(entry)
}

/// A layer with the module as its only file, the same each time; and the digest of what it unpacks to.
fn archive(wasm: &[u8]) -> (Packed, Digest) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..IMAGE_FILE.len()].copy_from_slice(IMAGE_FILE.as_bytes());
    header.set_mode(0o644);
    header.set_size(wasm.len() as u64);
    header.set_cksum();
    let padding = wasm.len().next_multiple_of(TAR_BLOCK) - wasm.len();
    let end = vec![0; padding + 2 * TAR_BLOCK];

    let (mut gzip, mut hasher) = (GzEncoder::new(Vec::new(), Compression::default()), Hasher::default());
    let pieces = [header.as_bytes().as_slice(), wasm, &end];
    let written = pieces.iter().try_for_each(|piece| gzip.write_all(piece).and_then(|()| hasher.write_all(piece)));
    let layer = written.and_then(|()| gzip.finish()).unwrap_or_else(|error: io::Error| {
        unreachable!("memory takes every byte: {error}");
    });
    (Packed::new("application/vnd.oci.image.layer.v1.tar+gzip", layer), hasher.digest())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::oci::wasm::MODULE_PREAMBLE;

    fn manifest(artifact: &Artifact) -> Value {
        serde_json::from_slice(&artifact.manifest.bytes).unwrap()
    }

    #[test]
    fn shapes_have_names() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        assert!("".parse::<Shape>().is_err() && "Image".parse::<Shape>().is_err());
    }

    #[test]
    fn a_manifest_names_configuration_and_layer() {
        for shape in Shape::ALL {
            let artifact = Artifact::pack(&MODULE_PREAMBLE[..], shape, "add.wasm");
            let manifest = manifest(&artifact);
            for (named, packed) in [(&manifest["config"], &artifact.config), (&manifest["layers"][0], &artifact.layer)]
            {
                assert_eq!(named["mediaType"], packed.media_type);
                assert_eq!(named["digest"], Digest::of(&packed.bytes).to_string());
                assert_eq!(named["size"], packed.bytes.len());
            }
            let title = &manifest["layers"][0]["annotations"]["org.opencontainers.image.title"];
            assert_eq!(title.as_str(), (shape != Shape::Image).then_some("add.wasm"), "{shape}");
            assert_eq!(manifest["mediaType"].is_string(), shape != Shape::WasmToOci, "{shape}");
            assert_eq!(artifact.manifest.descriptor().digest, Digest::of(&artifact.manifest.bytes));
            assert_eq!(artifact, Artifact::pack(MODULE_PREAMBLE.to_vec(), shape, "add.wasm"));
        }
        let untitled = Artifact::pack(&b""[..], Shape::Untyped, "");
        assert!(manifest(&untitled)["layers"][0].get("annotations").is_none());
    }

    /// What was published once keeps its digest, or every tag that is pushed again would seem to move.
    #[test]
    fn digests_stay_as_they_are() {
        let shapes = Shape::ALL.into_iter().filter(|shape| *shape != Shape::Image);
        let digests = shapes.map(|shape| Artifact::pack(&MODULE_PREAMBLE[..], shape, "add.wasm").manifest.digest.hex());
        assert_eq!(
            digests.map(|digest| digest[..8].to_owned()).collect::<Vec<_>>(),
            ["2626bbee", "b1ae3021", "bf934710", "1a17ab8f"]
        );
    }

    #[test]
    fn components_say_so() {
        for (preamble, os) in [(MODULE_PREAMBLE, "wasip1"), (COMPONENT_PREAMBLE, "wasip2")] {
            for shape in [Shape::WasmArtifact, Shape::Image] {
                let artifact = Artifact::pack(preamble.to_vec(), shape, "");
                let config: Value = serde_json::from_slice(&artifact.config.bytes).unwrap();
                assert_eq!((&config["os"], &config["architecture"]), (&os.into(), &"wasm".into()));
            }
        }
    }

    #[test]
    fn an_image_has_the_module_in_an_archive() {
        for size in [0, 1, TAR_BLOCK, TAR_BLOCK + 1, 100_000] {
            let wasm: Vec<_> = (0..=250).cycle().take(size).collect();
            let artifact = Artifact::pack(wasm.clone(), Shape::Image, "");
            let mut unpacked = Vec::new();
            GzDecoder::new(&*artifact.layer.bytes).read_to_end(&mut unpacked).unwrap();
            let config: Value = serde_json::from_slice(&artifact.config.bytes).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&unpacked).to_string());
            let mut archive = tar::Archive::new(&*unpacked);
            let files: Vec<_> = archive
                .entries()
                .unwrap()
                .map(|entry| {
                    let mut entry = entry.unwrap();
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).unwrap();
                    (entry.path().unwrap().display().to_string(), entry.header().mtime().unwrap(), content)
                })
                .collect();
            assert_eq!(files, [(IMAGE_FILE.to_owned(), 0, wasm)]);
        }
    }
}
