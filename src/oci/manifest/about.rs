//! What clients are told of a manifest beside what is in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::types::{Entry, Image, Manifest};
use super::{Form, IMAGE_CONFIGS, MAX_SHOWN};
use crate::error::printable;
use crate::oci::artifact::{CONTENT_LAYER, IMAGE_INDEX, IMAGE_MANIFEST, MODULE_LAYER, Shape, WASM_CONFIG};

/// Annotations that are kept.
const MAX_ANNOTATIONS: usize = 64;
/// Bytes of them that are kept, keys and values.
const MAX_ANNOTATION_BYTES: usize = 4 << 10;

/// What a manifest or index says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) media_type: String,
    /// As many as are kept; none if some are no text, which the specification does not allow.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl About {
    /// Reads it from the JSON that `manifest` was read from.
    pub(crate) fn read(json: &[u8], manifest: &Manifest) -> Self {
        #[derive(Default, Deserialize)]
        struct Named {
            #[serde(rename = "mediaType")]
            media_type: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct Annotated {
            annotations: Option<Annotations>,
        }
        // Apart, so that one that is no text does not hide the other.
        let Named { media_type } = serde_json::from_slice(json).unwrap_or_default();
        let Annotated { annotations } = serde_json::from_slice(json).unwrap_or_default();
        let usual = match manifest {
            Manifest::Image(_) => IMAGE_MANIFEST,
            Manifest::Index(_) => IMAGE_INDEX,
        };
        let media_type = media_type.filter(|media_type| !media_type.is_empty());
        Self {
            media_type: media_type.map_or(usual.to_owned(), |media_type| printable(&media_type, MAX_SHOWN)),
            annotations: annotations.map(|Annotations(kept)| kept).unwrap_or_default(),
        }
    }
}

/// Annotations, of which those are left out that do not fit.
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fitting;

        impl<'de> Visitor<'de> for Fitting {
            type Value = BTreeMap<String, String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut kept, mut size) = (BTreeMap::new(), 0);
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    let grown = size + key.len() + value.len();
                    if kept.len() < MAX_ANNOTATIONS && grown <= MAX_ANNOTATION_BYTES {
                        size = grown;
                        kept.insert(key, value);
                    }
                }
                Ok(kept)
            }
        }

        deserializer.deserialize_map(Fitting).map(Self)
    }
}

/// What kind of artifact a module is in: the name of a [`Shape`], or `wasm-layer` for a layer of another Wasm type.
pub(super) fn kind(image: &Image, layer: &Entry, form: &Form) -> &'static str {
    let config = image.config.media_type.as_str();
    match (form, layer.media_type.as_str()) {
        (Form::Module, CONTENT_LAYER) => Shape::WasmToOci.name(),
        (Form::Module, MODULE_LAYER) => Shape::Envoy.name(),
        (Form::Module, "application/wasm") if config == WASM_CONFIG => Shape::WasmArtifact.name(),
        (Form::Module, _) => "wasm-layer",
        (Form::Image { .. }, _) => Shape::Image.name(),
        (Form::Either(_), _) if IMAGE_CONFIGS.contains(&config) => Shape::Image.name(),
        (Form::Either(_), _) => Shape::Untyped.name(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::artifact::Artifact;
    use crate::oci::manifest::{choose, parse};
    use crate::oci::reference::Reference;

    fn about(manifest: &Value) -> About {
        let json = manifest.to_string();
        About::read(json.as_bytes(), &Manifest::read(json.as_bytes()).unwrap())
    }

    #[test]
    fn media_types_are_named_or_usual() {
        const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
        for (manifest, expected) in [
            (json!({"layers": []}), IMAGE_MANIFEST),
            (json!({"manifests": []}), IMAGE_INDEX),
            (json!({"layers": [], "mediaType": DOCKER}), DOCKER),
            (json!({"layers": [], "mediaType": ""}), IMAGE_MANIFEST),
            (json!({"layers": [], "mediaType": 7, "annotations": {"a": "b"}}), IMAGE_MANIFEST),
            (json!({"layers": [], "mediaType": DOCKER, "annotations": {"a": "b"}}), DOCKER),
        ] {
            let about = about(&manifest);
            assert_eq!(about.media_type, expected, "{manifest}");
            assert_eq!(about.annotations.len(), manifest.get("annotations").map_or(0, |_| 1), "{manifest}");
        }
        let long = about(&json!({"layers": [], "mediaType": format!("a\n{}", "b".repeat(1000))}));
        assert!(long.media_type.len() == MAX_SHOWN && !long.media_type.contains('\n'), "{long:?}");
    }

    #[test]
    fn annotations_are_kept_as_far_as_they_fit() {
        let annotated = |annotations: Value| about(&json!({"layers": [], "annotations": annotations})).annotations;
        assert_eq!(
            annotated(json!({"a": "1", "b": ""})),
            [("a", "1"), ("b", "")].map(|(k, v)| (k.into(), v.into())).into()
        );
        assert_eq!(annotated(Value::Null), BTreeMap::new());
        assert_eq!(annotated(json!({"a": {"b": []}, "c": "text"})), BTreeMap::new());
        let large = "x".repeat(MAX_ANNOTATION_BYTES);
        assert_eq!(annotated(json!({"a": large, "b": "fits"})).into_keys().collect::<Vec<_>>(), ["b"]);
        let many: BTreeMap<_, _> = (0..1000).map(|number| (number.to_string(), "")).collect();
        assert_eq!(annotated(json!(many)).len(), MAX_ANNOTATIONS);
    }

    #[test]
    fn what_is_packed_in_a_shape_is_found_to_be_of_it() {
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        for shape in Shape::ALL {
            let artifact = Artifact::pack(&b"\0asm"[..], shape, "add.wasm");
            let manifest = parse(&reference, &artifact.manifest.bytes).unwrap();
            assert_eq!(About::read(&artifact.manifest.bytes, &manifest).media_type, IMAGE_MANIFEST);
            let Manifest::Image(image) = manifest else { unreachable!("it has a layer") };
            let choice = choose(&reference, &image).unwrap();
            assert_eq!((choice.kind, choice.layer), (shape.name(), artifact.layer.descriptor()));
        }
    }
}
