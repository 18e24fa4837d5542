//! Finding the module in a manifest (OCI image specification, "Image Manifest").

use oci_client::manifest::{OciDescriptor, OciManifest};

use crate::blob::Descriptor;
use crate::error::Error;
use crate::reference::Reference;

/// The manifest types that are asked for.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The types under which publishers put a bare Wasm binary into a layer.
const WASM_TYPES: [&str; 4] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// The layer that is the module: the only one of a Wasm type, or the only one at all if it is no archive. Whether an
/// untyped layer is Wasm shows when its first bytes are there.
pub(super) fn wasm_layer(reference: &Reference, manifest: &[u8]) -> Result<Descriptor, Error> {
    let unsupported = |reason: String| Error::Unsupported { reference: reference.to_string(), reason };
    let layers = match serde_json::from_slice(manifest) {
        Ok(OciManifest::Image(image)) => image.layers,
        Ok(OciManifest::ImageIndex(_)) => return Err(unsupported("it is an image index".into())),
        Err(error) => return Err(unsupported(format!("its manifest cannot be read ({error})"))),
    };
    let typed: Vec<_> = layers.iter().filter(|layer| WASM_TYPES.contains(&layer.media_type.as_str())).collect();
    match (typed.as_slice(), layers.as_slice()) {
        ([layer], _) => descriptor(layer).map_err(unsupported),
        ([], [layer]) if !is_wrapped(&layer.media_type) => descriptor(layer).map_err(unsupported),
        ([], []) => Err(unsupported("its manifest has no layers".into())),
        ([], _) => Err(unsupported(format!("its layers are {}", list(&layers).join(", ")))),
        (several, _) => {
            Err(Error::Ambiguous { reference: reference.to_string(), candidates: list(several.iter().copied()) })
        }
    }
}

/// Whether a layer's type says that the module would have to be unpacked or decrypted first. A plain tar type does not:
/// it is what `oras push` gives any file whose type it is not told.
fn is_wrapped(media_type: &str) -> bool {
    ["zip", "zstd", "+par", "encrypted"].iter().any(|form| media_type.contains(form))
}

fn descriptor(layer: &OciDescriptor) -> Result<Descriptor, String> {
    Ok(Descriptor {
        digest: layer
            .digest
            .parse()
            .map_err(|()| format!("its layer has the digest {:?}, not a SHA-256", layer.digest))?,
        size: layer.size.try_into().map_err(|_| format!("its layer has the size {}", layer.size))?,
        media_type: layer.media_type.clone(),
    })
}

fn list<'a>(layers: impl IntoIterator<Item = &'a OciDescriptor>) -> Vec<String> {
    /// Layers that a message lists.
    const MAX_LISTED: usize = 8;
    layers.into_iter().take(MAX_LISTED).map(|layer| format!("{} {}", layer.media_type, layer.digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";

    fn select(layers: &[(&str, i64)]) -> Result<Descriptor, Error> {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let layers: Vec<_> = layers
            .iter()
            .map(|(media_type, size)| serde_json::json!({"mediaType": media_type, "digest": digest, "size": size}))
            .collect();
        let config =
            serde_json::json!({"mediaType": "application/vnd.wasm.config.v1+json", "digest": digest, "size": 2});
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        wasm_layer(&reference, manifest.to_string().as_bytes())
    }

    #[test]
    fn the_only_wasm_layer_is_the_module() {
        for layers in [
            &[(WASM, 7)][..],
            &[("application/wasm", 7)],
            &[("application/octet-stream", 7)],
            &[("application/vnd.oci.image.layer.v1.tar", 7)],
            &[("text/plain", 1), (WASM, 7), ("application/json", 2)],
        ] {
            assert_eq!(select(layers).unwrap().size, 7, "{layers:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (layers, code) in [
            (&[][..], "unsupported"),
            (&[(WASM, 1), (WASM, 2)], "ambiguous"),
            (&[("text/plain", 1), ("application/json", 2)], "unsupported"),
            (&[("application/vnd.oci.image.layer.v1.tar+gzip", 1)], "unsupported"),
            (&[("application/vnd.wasm.content.layer.v1+wasm+encrypted", 1)], "unsupported"),
            (&[(WASM, -1)], "unsupported"),
        ] {
            assert_eq!(select(layers).unwrap_err().code(), code, "{layers:?}");
        }
    }
}
