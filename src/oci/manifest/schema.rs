//! The fields of manifests, and of the configurations of images, that are read. Other fields are not kept, and lists are bounded: a manifest of 4 MiB that is
//! all annotations would take ten times that in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, printable};
use crate::oci::blob::Descriptor;
use crate::oci::reference::Reference;
use crate::oci::refusal::{MAX_SHOWN, unsupported};

/// The media types of manifests that are requested.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
/// Largest manifest that is read, bytes (the size that the distribution specification obliges registries to accept).
#[doc(alias = "bound")]
pub(crate) const MAX_MANIFEST_SIZE: u64 = 4 << 20;
/// Layers of a manifest, or manifests of an index, that are read.
#[doc(alias = "bound")]
const MAX_ENTRIES: usize = 1024;
/// Words of an image's entry point, and of its command, that are read.
#[doc(alias = "bound")]
const MAX_WORDS: usize = 64;

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

/// A descriptor, in an image manifest or in an index (OCI image specification, "Descriptor" and "Image Index").
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

/// The platform of a manifest in an index.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// The annotations that are used here.
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
    /// Parses a manifest.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what is wrong with it.
    pub(crate) fn parse(reference: &Reference, json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Either {
            #[serde(default, deserialize_with = "or_default")]
            config: Entry,
            layers: Option<Bounded<Entry, MAX_ENTRIES>>,
            manifests: Option<Bounded<Entry, MAX_ENTRIES>>,
            #[serde(default, deserialize_with = "or_default")]
            annotations: Annotations,
        }
        let unreadable = |reason: &str| unsupported(reference, &format!("its manifest cannot be read ({reason})"));
        let Either { config, layers, manifests, annotations } =
            serde_json::from_slice(json).map_err(|error| unreadable(&error.to_string()))?;
        match (layers, manifests) {
            (Some(Bounded(layers)), None) => Ok(Self::Image(Box::new(Image { config, layers, annotations }))),
            (None, Some(Bounded(manifests))) => Ok(Self::Index(manifests)),
            // Clients that differ in how they read it would see different content under one digest.
            (Some(_), Some(_)) => Err(unreadable("it is both an image and an index")),
            (None, None) => Err(unreadable("it is neither an image nor an index")),
        }
    }
}

impl Entry {
    /// Its descriptor; `what` names it in an error.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its digest or size is unusable.
    pub(crate) fn descriptor(&self, reference: &Reference, what: &str) -> Result<Descriptor, Error> {
        let Self { digest, size, media_type, .. } = self;
        let unusable = |reason: String| unsupported(reference, &reason);
        Ok(Descriptor {
            digest: digest
                .parse()
                .map_err(|()| unusable(format!("its {what} has the digest {digest:?}, not a SHA-256")))?,
            size: (*size).try_into().map_err(|_| unusable(format!("its {what} has the size {size}")))?,
            media_type: printable(media_type, MAX_SHOWN),
        })
    }

    /// The file name that clients give it when they save it.
    pub(crate) fn title(&self) -> Option<&str> {
        self.annotations.title.as_deref()
    }
}

/// The words of the command line of an image, entry point first; none if its configuration is unreadable (OCI image
/// specification, "Image Configuration").
pub(crate) fn command(config: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<Run>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Run {
        #[serde(default)]
        entrypoint: Option<Bounded<String, MAX_WORDS>>,
        #[serde(default)]
        cmd: Option<Bounded<String, MAX_WORDS>>,
    }
    let run = serde_json::from_slice::<Image>(config).unwrap_or_default().config.unwrap_or_default();
    [run.entrypoint, run.cmd].into_iter().flatten().flat_map(|Bounded(words)| words).collect()
}

/// A list of at most so many items.
#[derive(Debug)]
struct Bounded<T, const MAX: usize>(Vec<T>);

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
