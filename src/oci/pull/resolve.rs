//! From a tag or digest to its manifest, by the pull policy.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::warn;

use super::lookups::Document;
use super::puller::{Operation, Pull, Puller};
use crate::error::Error;
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Manifest, Metadata};
use crate::oci::options::PullPolicy;
use crate::oci::reference::{Reference, Version};
use crate::oci::store::CachedTag;
use crate::util::fair::Party;

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

impl Puller {
    /// The manifest or index of `reference` now, by the pull policy. Signatures are not checked.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        let pull = self.start(reference, Party::default(), None).await?;
        let (resolved, _) =
            pull.run(Operation::Resolve, Box::pin(async { pull.resolve().await?.describe(reference) })).await?;
        Ok(resolved)
    }
}

impl Pull<'_> {
    /// The manifest or index of the reference.
    pub(super) async fn resolve(&self) -> Result<Document, Error> {
        match &self.reference.version {
            Version::Tag(tag) => self.tagged(tag).await,
            Version::Digest(digest) => {
                if self.policy == PullPolicy::Always {
                    return self.share(digest.to_string(), self.confirm(*digest)).await;
                }
                self.document(*digest).await
            }
        }
    }

    /// The manifest or index of a tag: by its cached digest while that may be used, else as the registry resolves it.
    pub(super) async fn tagged(&self, tag: &str) -> Result<Document, Error> {
        let name = self.reference.tag_name(tag);
        let cached = self.scope.cached_tag(&name).await?;
        if let Some(digest) = self.digest_without_request(&name, cached)? {
            return self.document(digest).await;
        }
        let cached = cached.map(|cached| cached.digest);
        match (self.share(name.clone(), self.request_tag(tag, &name, cached)).await, cached) {
            (Ok(document), _) => Ok(document),
            (Err(error @ (Error::RegistryUnreachable { .. } | Error::RegistryAnswer { .. })), Some(digest))
                if self.policy == PullPolicy::IfNotPresent =>
            {
                warn!(event = "tag-from-memory", tag = name, %digest, "remembered: the registry does not say what the tag means: {error}");
                self.document(digest).await
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The cached digest of a tag, where the policy permits it without a request to the registry.
    fn digest_without_request(&self, name: &str, cached: Option<CachedTag>) -> Result<Option<Digest>, Error> {
        let ttl = self.puller.options.tag_ttl;
        match self.policy {
            PullPolicy::Never => match cached {
                Some(cached) => Ok(Some(cached.digest)),
                None => Err(Error::NotCached { object: name.to_owned() }),
            },
            PullPolicy::IfNotPresent => Ok(cached.filter(|cached| cached.is_fresh(ttl)).map(|cached| cached.digest)),
            PullPolicy::Always => Ok(None),
        }
    }

    /// The result of `lookup`, or of the one for the same `name` that is in progress.
    pub(super) async fn share(
        &self,
        name: String,
        lookup: impl Future<Output = Result<Document, Error>>,
    ) -> Result<Document, Error> {
        // With the reference, which errors name.
        let key = (self.scope.folder.clone(), self.reference.to_string(), name);
        self.puller.lookups.share(key, lookup).await
    }

    /// Requests a tag, for its digest only if one is `cached`; and caches its digest under `name`.
    async fn request_tag(&self, tag: &str, name: &str, cached: Option<Digest>) -> Result<Document, Error> {
        let stated = match cached {
            Some(cached) => self.repository.head(tag, cached).await?,
            None => None,
        };
        let document = match stated {
            Some(digest) => self.document(digest).await?,
            None => self.fetch_manifest(tag).await?,
        };
        // With a TTL of zero the time of the confirmation is not used, and writing it takes longer than the request.
        let is_current = cached == Some(document.digest) && self.puller.options.tag_ttl.is_zero();
        if !is_current {
            self.scope.cache_tag(name, document.digest).await?;
        }
        Ok(document)
    }

    /// The manifest with this digest, if the registry still has it, and shows it to these credentials.
    async fn confirm(&self, digest: Digest) -> Result<Document, Error> {
        let name = digest.to_string();
        match self.repository.head(&name, digest).await? {
            Some(stated) => {
                digest.require(stated)?;
                self.document(digest).await
            }
            None => self.fetch_manifest(&name).await,
        }
    }

    /// The manifest with this digest: from the store, or from the registry.
    pub(super) async fn document(&self, digest: Digest) -> Result<Document, Error> {
        let _flight = self.puller.single_flight.enter(&self.scope, digest).await;
        if let Some(blob) = self.scope.blob(digest).await? {
            return Ok(Document { digest, bytes: self.scope.read(blob).await? });
        }
        self.permit_request(digest)?;
        self.fetch_manifest(&digest.to_string()).await
    }

    /// The manifest that an index names, if it has the size that the index says.
    pub(super) async fn listed(&self, entry: &Descriptor) -> Result<Document, Error> {
        let document = self.document(entry.digest).await?;
        entry.require_size(document.bytes.len() as u64)?;
        Ok(document)
    }

    /// Fetches the manifest of a tag or digest into the store.
    async fn fetch_manifest(&self, version: &str) -> Result<Document, Error> {
        let bytes = self.repository.manifest(version).await?;
        self.store_document(bytes).await
    }

    pub(super) async fn store_document(&self, bytes: Bytes) -> Result<Document, Error> {
        Ok(Document { digest: self.scope.put(bytes.clone()).await?, bytes })
    }
}
