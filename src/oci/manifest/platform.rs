//! The manifest for WebAssembly in an index (OCI image specification, "Image Index").

use super::schema::{Entry, Platform};
use crate::error::Error;
use crate::oci::blob::Descriptor;
use crate::oci::reference::Reference;
use crate::oci::refusal::{ambiguous, listed, unsupported};

/// Selects the only manifest of the platform that fits best. Attestations do not count.
///
/// # Errors
/// [`Error::Unsupported`] if none fits, [`Error::Ambiguous`] if several do.
pub(crate) fn select_manifest(reference: &Reference, index: &[Entry]) -> Result<Descriptor, Error> {
    let entries: Vec<_> = index.iter().filter(|entry| !is_attestation(entry)).collect();
    let best = entries.iter().map(|entry| fitness(entry)).max().unwrap_or_default();
    let mut fitting: Vec<_> = entries.iter().filter(|entry| fitness(entry) == best).collect();
    // One manifest may be listed for several platforms.
    fitting.sort_by_key(|entry| &entry.digest);
    fitting.dedup_by_key(|entry| &entry.digest);
    let candidates = entries.iter().map(|entry| shown(entry));
    match fitting.as_slice() {
        [] => Err(unsupported(reference, "its index is empty")),
        [entry] if best > 0 || entry.platform.is_none() || entries.len() == 1 => {
            entry.descriptor(reference, "manifest")
        }
        _ if best == 0 && entries.iter().all(|entry| entry.platform.is_some()) => {
            let candidates = listed(candidates).join(", ");
            Err(unsupported(reference, &format!("its index has no manifest for WebAssembly, but {candidates}")))
        }
        _ => Err(ambiguous(reference, candidates)),
    }
}

fn is_attestation(entry: &Entry) -> bool {
    let is_unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
    entry.annotations.reference_type.as_deref() == Some("attestation-manifest")
        || entry.platform.as_ref().is_some_and(is_unknown)
}

/// How many parts of a platform name WebAssembly: operating system and architecture.
fn fitness(entry: &Entry) -> usize {
    entry.platform.as_ref().map_or(0, |platform| {
        usize::from(platform.os.starts_with("wasi")) + usize::from(platform.architecture.starts_with("wasm"))
    })
}

/// An entry as a message shows it.
fn shown(entry: &Entry) -> String {
    let platform = entry.platform.as_ref();
    let platform = platform.map_or("any platform".into(), |it| format!("{}/{}", it.os, it.architecture));
    format!("{platform} {}", entry.digest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::manifest::Manifest;

    /// Each entry: os/architecture, or nothing.
    fn platform(platforms: &[&str]) -> Result<usize, Error> {
        let entry = |(number, platform): (usize, &&str)| {
            let (os, architecture) = platform.split_once('/').unwrap_or_default();
            let platform = json!({"os": os, "architecture": architecture});
            let platform = if os.is_empty() { Value::Null } else { platform };
            let digest = format!("sha256:{number:064x}");
            json!({"mediaType": "application/json", "digest": digest, "size": number, "platform": platform})
        };
        let entries: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        match Manifest::parse(&reference, index.as_bytes())? {
            Manifest::Index(index) => select_manifest(&reference, &index).map(|it| usize::try_from(it.size).unwrap()),
            Manifest::Image(_) => unreachable!("it has no layers"),
        }
    }

    #[test]
    fn an_index_has_one_manifest_for_wasm() {
        for (platforms, number) in [
            (&["linux/amd64", "wasi/wasm", "unknown/unknown"][..], 1),
            (&["wasip1/wasm", "linux/wasm"], 0),
            (&["linux/amd64", "linux/wasm32"], 1),
            (&["", "unknown/unknown"], 0),
            (&["linux/amd64"], 0),
            (&["wasi/wasm", ""], 0),
        ] {
            assert_eq!(platform(platforms).unwrap(), number, "{platforms:?}");
        }
        for (platforms, code) in [
            (&[][..], "unsupported"),
            (&["unknown/unknown"], "unsupported"),
            (&["linux/amd64", "linux/arm64"], "unsupported"),
            (&["wasip1/wasm", "wasip2/wasm"], "ambiguous"),
            (&["", ""], "ambiguous"),
        ] {
            assert_eq!(platform(platforms).unwrap_err().code(), code, "{platforms:?}");
        }
    }
}
