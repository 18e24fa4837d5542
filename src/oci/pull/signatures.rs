//! Whether a manifest is signed by a configured key.

use tracing::debug;

use super::lookups::Document;
use super::puller::Pull;
use crate::error::Error;
use crate::oci::cosign::{self, MAX_SIGNATURE_SIZE, MAX_SIGNATURES};
use crate::oci::digest::Digest;
use crate::oci::manifest::{Entry, Image, Manifest};
use crate::oci::options::PullPolicy;

/// Where cosign stores signatures.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Under a tag of its own.
    OwnTag,
    /// Among the referrers.
    Referrers,
    /// Under the tag that replaces the list of referrers where a registry has none.
    ReferrersTag,
}

impl Place {
    const ALL: [Self; 3] = [Self::OwnTag, Self::Referrers, Self::ReferrersTag];
}

/// The signatures in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signatures {
    /// One is by a configured key.
    Valid,
    /// There are some, but none by a configured key.
    Invalid,
    /// There are none.
    Absent,
}

impl Pull<'_> {
    /// Requires that a configured key has signed one of these digests; nothing, if no keys are configured.
    ///
    /// Each place is searched in the store first: what was valid once remains valid, because a signature has no time.
    pub(super) async fn check_signatures(&self, digests: &[Digest]) -> Result<(), Error> {
        if self.puller.options.verify_keys.is_empty() {
            return Ok(());
        }
        let (mut is_signed, mut failure) = (false, None);
        for policy in self.search_policies() {
            let mut search = self.clone();
            search.policy = *policy;
            for (digest, place) in digests.iter().flat_map(|digest| Place::ALL.map(|place| (*digest, place))) {
                // An error in one place must not hide the signature in another.
                match search.signatures_at(place, digest).await {
                    Ok(Signatures::Valid) => return Ok(()),
                    Ok(Signatures::Invalid) => is_signed = true,
                    Ok(Signatures::Absent) => {}
                    Err(error) if error.retryable() => failure = Some(error),
                    Err(error) => debug!(%digest, ?place, "no signatures: {error}"),
                }
            }
        }
        let reference = self.reference.to_string();
        Err(match failure {
            Some(failure) => failure,
            None if is_signed => Error::BadSignature { reference },
            None => Error::Unsigned { reference },
        })
    }

    /// The policies of the searches in turn: the store, then the registry, if it may be used.
    fn search_policies(&self) -> &'static [PullPolicy] {
        match self.policy {
            PullPolicy::Never => &[PullPolicy::Never],
            PullPolicy::IfNotPresent | PullPolicy::Always => &[PullPolicy::Never, PullPolicy::Always],
        }
    }

    /// The signatures of `digest` in one place: fetch its document, read the manifests in that, verify their layers.
    async fn signatures_at(&self, place: Place, digest: Digest) -> Result<Signatures, Error> {
        let Some(document) = self.signature_document(place, digest).await? else { return Ok(Signatures::Absent) };
        match document.manifest(self.reference) {
            Ok(Manifest::Image(image)) => self.verify_manifest(&image, digest).await,
            Ok(Manifest::Index(index)) => self.verify_index(&index, digest).await,
            Err(_) => Ok(Signatures::Absent),
        }
    }

    async fn signature_document(&self, place: Place, digest: Digest) -> Result<Option<Document>, Error> {
        let [own_tag, referrers_tag] = cosign::tags(digest);
        match place {
            Place::OwnTag => if_known(self.tagged(&own_tag).await),
            Place::Referrers => self.referrers(digest).await,
            Place::ReferrersTag => if_known(self.tagged(&referrers_tag).await),
        }
    }

    /// The list of what refers to a manifest, where the registry has such lists.
    async fn referrers(&self, digest: Digest) -> Result<Option<Document>, Error> {
        let name = format!("{}/{}@{digest} referrers", self.reference.registry, self.reference.repository);
        if self.policy == PullPolicy::Never {
            let Some(list) = self.scope.cached_tag(&name).await? else { return Ok(None) };
            return if_known(self.document(list.digest).await);
        }
        let requested = async {
            let list = self.store_document(self.repository.referrers(digest).await?).await?;
            self.scope.cache_tag(&name, list.digest).await?;
            Ok(list)
        };
        match self.share(name.clone(), requested).await {
            Ok(list) => Ok(Some(list)),
            Err(Error::UnknownImage { .. } | Error::RegistryAnswer { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Verifies the manifests in an index that may be signatures of `digest`.
    async fn verify_index(&self, index: &[Entry], digest: Digest) -> Result<Signatures, Error> {
        let mut outcome = Signatures::Absent;
        let candidates = index.iter().filter(|entry| cosign::may_sign(entry.artifact_type.as_deref()));
        for candidate in candidates.take(MAX_SIGNATURES) {
            let Ok(manifest) = candidate.descriptor(self.reference, "signature") else { continue };
            let Some(document) = if_usable(self.listed(&manifest).await)? else { continue };
            let Ok(Manifest::Image(image)) = document.manifest(self.reference) else { continue };
            match self.verify_manifest(&image, digest).await? {
                Signatures::Valid => return Ok(Signatures::Valid),
                Signatures::Invalid => outcome = Signatures::Invalid,
                Signatures::Absent => {}
            }
        }
        Ok(outcome)
    }

    /// Verifies the layers of a manifest that are signatures of `digest`.
    async fn verify_manifest(&self, image: &Image, digest: Digest) -> Result<Signatures, Error> {
        let mut outcome = Signatures::Absent;
        for layer in cosign::layers(image).take(MAX_SIGNATURES) {
            if self.verify_layer(layer, digest).await? {
                return Ok(Signatures::Valid);
            }
            outcome = Signatures::Invalid;
        }
        Ok(outcome)
    }

    async fn verify_layer(&self, layer: &Entry, digest: Digest) -> Result<bool, Error> {
        let Ok(blob) = layer.descriptor(self.reference, "signature") else { return Ok(false) };
        if blob.size > MAX_SIGNATURE_SIZE {
            return Ok(false);
        }
        let Some(content) = if_usable(self.small_blob(&blob).await)? else { return Ok(false) };
        let (layer, keys) = (layer.clone(), self.puller.options.verify_keys.clone());
        self.scope.blocking(move |_| Ok(cosign::is_valid(&layer, &content, digest, &keys))).await
    }
}

/// The value; `None` where neither the registry nor the store has it.
fn if_known<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::UnknownImage { .. } | Error::NotCached { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value; `None` where it is unusable, which must not hide other signatures.
fn if_usable<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::SizeMismatch { .. } | Error::DigestMismatch { .. }) => Ok(None),
        Err(error) if !error.retryable() => Ok(None),
        result => result.map(Some),
    }
}
