//! Manifests, indexes, and configurations of images.

use super::text::{check_error, check_text};
use crate::oci::blob::Descriptor;
use crate::oci::manifest::{Content, Entry, Manifest, Metadata, command, select_layer, select_manifest};
use crate::oci::reference::Reference;
use crate::oci::refusal::MAX_SHOWN;

const REFERENCES: [&str; 3] = [
    "r.example/add",
    "r.example/add#add.wasm",
    "r.example/add:1.0#sha256:0000000000000000000000000000000000000000000000000000000000000001",
];
/// Layers of a manifest, or manifests of an index.
const MAX_ENTRIES: usize = 1024;
/// Annotations that are kept, and their bytes.
const MAX_ANNOTATIONS: (usize, usize) = (64, 4096);
/// Words of an entry point and a command.
const MAX_WORDS: usize = 128;

/// What is selected is in the manifest, with a usable digest and size; what is kept and shown of it is bounded.
pub fn manifest(data: &[u8]) {
    for reference in REFERENCES {
        let default = "localhost:5000".parse().expect("an address of a registry");
        check(&Reference::parse(reference, &default).expect("a reference"), data);
    }
    assert!(command(data).len() <= MAX_WORDS);
}

fn check(reference: &Reference, json: &[u8]) {
    let manifest = match Manifest::parse(reference, json) {
        Ok(manifest) => manifest,
        Err(error) => return check_error(&error),
    };
    let Metadata { media_type, annotations } = Metadata::read(json, &manifest);
    check_text(&media_type, MAX_SHOWN);
    let size = annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    assert!(annotations.len() <= MAX_ANNOTATIONS.0 && size <= MAX_ANNOTATIONS.1);

    let (entries, selected) = match &manifest {
        Manifest::Index(entries) => (entries, select_manifest(reference, entries)),
        Manifest::Image(image) => {
            let selected = select_layer(reference, image).map(|selected| {
                check_text(selected.title.as_deref().unwrap_or_default(), MAX_SHOWN);
                if let Content::ImageLayer { config, .. } = &selected.content {
                    check_descriptor(config, std::slice::from_ref(&image.config));
                }
                selected.layer
            });
            (&image.layers, selected)
        }
    };
    assert!(entries.len() <= MAX_ENTRIES);
    match selected {
        Ok(descriptor) => check_descriptor(&descriptor, entries),
        Err(error) => check_error(&error),
    }
}

/// The descriptor is one of `entries`.
fn check_descriptor(Descriptor { digest, size, media_type }: &Descriptor, entries: &[Entry]) {
    check_text(media_type, MAX_SHOWN);
    let digest = digest.to_string();
    assert!(entries.iter().any(|entry| entry.digest == digest && u64::try_from(entry.size) == Ok(*size)), "{digest}");
}
