//! Manifests and indexes as they were fetched.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Manifest, Metadata};
use crate::oci::reference::Reference;

/// The manifest or index of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Of the manifest or index.
    pub media_type: String,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The publisher's annotations, unchanged; 64 of them and 4 KiB at most, others are omitted.
    pub annotations: BTreeMap<String, String>,
}

/// The bytes of a manifest or index, and their digest.
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Document {
    pub(super) fn manifest(&self, reference: &Reference) -> Result<Manifest, Error> {
        Manifest::parse(reference, &self.bytes)
    }

    /// The manifest, and its description for clients.
    pub(super) fn describe(&self, reference: &Reference) -> Result<(Resolved, Manifest), Error> {
        let manifest = self.manifest(reference)?;
        let Metadata { media_type, annotations } = Metadata::read(&self.bytes, &manifest);
        let (digest, size) = (self.digest, self.bytes.len() as u64);
        Ok((Resolved { media_type, digest, size, annotations }, manifest))
    }
}
