//! Manifests as far as they are looked at. What is not needed is not kept, and lists have an end: a manifest of 4 MiB that
//! is all annotations would take ten times that in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Layers or manifests that are read.
const MAX_ENTRIES: usize = 1024;

/// An image manifest or an index of manifests.
#[derive(Debug)]
pub(crate) enum Manifest {
    Image(Box<Image>),
    Index(Vec<Entry>),
}

/// An image manifest (OCI image specification, "Image Manifest").
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) config: Entry,
    pub(crate) layers: Vec<Entry>,
    pub(crate) annotations: Annotations,
}

/// A descriptor, or what an index says of a manifest (OCI image specification, "Descriptor" and "Image Index").
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: i64,
    pub(crate) artifact_type: Option<String>,
    pub(crate) platform: Option<Platform>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) annotations: Annotations,
}

/// What a manifest is for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// The annotations that mean something here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Annotations {
    #[serde(rename = "org.opencontainers.image.title")]
    pub(crate) title: Option<String>,
    /// The variant of an image for Istio, Envoy, crun or `WasmEdge`.
    #[serde(rename = "module.wasm.image/variant")]
    pub(crate) variant: Option<String>,
    #[serde(rename = "vnd.docker.reference.type")]
    pub(crate) reference_type: Option<String>,
    #[serde(rename = "dev.cosignproject.cosign/signature")]
    pub(crate) signature: Option<String>,
}

impl Manifest {
    /// Reads a manifest; the error says what is wrong with it.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Either {
            #[serde(default, deserialize_with = "or_default")]
            config: Entry,
            layers: Option<Bounded<Entry, MAX_ENTRIES>>,
            manifests: Option<Bounded<Entry, MAX_ENTRIES>>,
            #[serde(default, deserialize_with = "or_default")]
            annotations: Annotations,
        }
        let Either { config, layers, manifests, annotations } =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        match (layers, manifests) {
            (Some(Bounded(layers)), None) => Ok(Self::Image(Box::new(Image { config, layers, annotations }))),
            (None, Some(Bounded(manifests))) => Ok(Self::Index(manifests)),
            // Clients that differ in how they read it would see different content under one digest.
            (Some(_), Some(_)) => Err("it is both an image and an index".into()),
            (None, None) => Err("it is neither an image nor an index".into()),
        }
    }
}

/// A list of at most so many items.
#[derive(Debug)]
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    if items.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(Items::<T, MAX>(PhantomData)).map(Self)
    }
}

/// `null` is what Go writes for an empty map.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
