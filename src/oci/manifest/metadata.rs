//! The media type and annotations of a manifest, which clients are shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::schema::Manifest;
use crate::error::printable;
use crate::oci::artifact::{IMAGE_INDEX, IMAGE_MANIFEST};
use crate::oci::refusal::MAX_SHOWN;

/// Annotations of a manifest that are kept.
#[doc(alias = "bound")]
const MAX_ANNOTATIONS: usize = 64;
/// Bytes of annotations that are kept, keys and values.
#[doc(alias = "bound")]
const MAX_ANNOTATION_BYTES: usize = 4 << 10;

/// The media type and annotations of a manifest or index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) media_type: String,
    /// The first that fit; none if one is not text, which the specification does not allow.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Reads them from the JSON that `manifest` was parsed from.
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
        // Separately, so that one that is not text does not hide the other.
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

/// Annotations without those that exceed the bounds.
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::reference::Reference;

    fn metadata(manifest: &Value) -> Metadata {
        let json = manifest.to_string();
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        Metadata::read(json.as_bytes(), &Manifest::parse(&reference, json.as_bytes()).unwrap())
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
            let metadata = metadata(&manifest);
            assert_eq!(metadata.media_type, expected, "{manifest}");
            assert_eq!(metadata.annotations.len(), manifest.get("annotations").map_or(0, |_| 1), "{manifest}");
        }
        let long = metadata(&json!({"layers": [], "mediaType": format!("a\n{}", "b".repeat(1000))}));
        assert!(long.media_type.len() == MAX_SHOWN && !long.media_type.contains('\n'), "{long:?}");
    }

    #[test]
    fn annotations_are_kept_as_far_as_they_fit() {
        let annotated = |annotations: Value| metadata(&json!({"layers": [], "annotations": annotations})).annotations;
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
}
