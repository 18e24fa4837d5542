//! Whether a manifest is signed by a configured key.

use tracing::debug;

use super::{Document, Pull, known};
use crate::error::Error;
use crate::oci::cosign::{self, MAX_SIGNATURE_SIZE, MAX_SIGNATURES};
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Image, Manifest};
use crate::oci::options::PullPolicy;
use crate::oci::store::Scope;

/// Where cosign puts signatures.
#[derive(Debug, Clone, Copy)]
enum SignaturePlace {
    /// Under a tag of its own.
    OwnTag,
    /// Among the referrers.
    Referrers,
    /// Among those of a registry that has no lists of them, but a tag.
    ReferrersTag,
}

impl SignaturePlace {
    const ALL: [Self; 3] = [Self::OwnTag, Self::Referrers, Self::ReferrersTag];
}

/// What the signatures in one place say.
enum Signatures {
    /// One is by a known key.
    Valid,
    /// There are some, but none of them is.
    Invalid,
    /// There are none.
    Absent,
}

impl Pull<'_> {
    /// Lets pass what one of the configured keys has signed under one of these digests; everything, if there are none.
    pub(super) async fn check_signatures(&self, digests: &[Digest]) -> Result<(), Error> {
        if self.puller.config.verify_keys.is_empty() {
            return Ok(());
        }
        // What was good once is: a signature says nothing of time.
        let policies: &[_] = if self.policy == PullPolicy::Never {
            &[PullPolicy::Never]
        } else {
            &[PullPolicy::Never, PullPolicy::Always]
        };
        let (mut signed, mut failure) = (false, None);
        for policy in policies {
            let pull = Self { policy: *policy, ..self.clone() };
            for digest in digests {
                for place in SignaturePlace::ALL {
                    // What one place does not tell another may.
                    match pull.signatures(place, *digest).await {
                        Ok(Signatures::Valid) => return Ok(()),
                        Ok(Signatures::Invalid) => signed = true,
                        Ok(Signatures::Absent) => {}
                        Err(error) if error.retryable() => failure = Some(error),
                        Err(error) => debug!(%digest, ?place, "no signatures: {error}"),
                    }
                }
            }
        }
        let reference = self.reference.to_string();
        Err(match failure {
            Some(failure) => failure,
            None if signed => Error::BadSignature { reference },
            None => Error::Unsigned { reference },
        })
    }

    /// Looks for signatures of `digest` in one of the places where cosign puts them.
    async fn signatures(&self, place: SignaturePlace, digest: Digest) -> Result<Signatures, Error> {
        let [own_tag, referrers_tag] = cosign::tags(digest);
        let document = match place {
            SignaturePlace::OwnTag => known(self.tagged(&own_tag).await)?,
            SignaturePlace::Referrers => self.referrers(digest).await?,
            SignaturePlace::ReferrersTag => known(self.tagged(&referrers_tag).await)?,
        };
        let Some(document) = document else { return Ok(Signatures::Absent) };
        let index = match document.parsed(self.reference) {
            Ok((_, Manifest::Image(image))) => return self.signatures_in(&image, digest).await,
            Ok((_, Manifest::Index(index))) => index,
            Err(_) => return Ok(Signatures::Absent),
        };
        let mut outcome = Signatures::Absent;
        let signing = index.iter().filter(|entry| cosign::may_sign(entry.artifact_type.as_deref()));
        for entry in signing.take(MAX_SIGNATURES) {
            let Ok(name) = entry.digest.parse() else { continue };
            let Some(document) = readable(self.document(name).await)? else { continue };
            let Ok((_, Manifest::Image(image))) = document.parsed(self.reference) else { continue };
            match self.signatures_in(&image, digest).await? {
                Signatures::Valid => return Ok(Signatures::Valid),
                Signatures::Invalid => outcome = Signatures::Invalid,
                Signatures::Absent => {}
            }
        }
        Ok(outcome)
    }

    /// Looks for signatures of `digest` in one manifest.
    async fn signatures_in(&self, image: &Image, digest: Digest) -> Result<Signatures, Error> {
        let mut outcome = Signatures::Absent;
        for layer in cosign::layers(image).take(MAX_SIGNATURES) {
            outcome = Signatures::Invalid;
            let Ok(blob) = manifest::descriptor(self.reference, "signature", layer) else { continue };
            if blob.size > MAX_SIGNATURE_SIZE {
                continue;
            }
            let Some(content) = readable(self.small_blob(&blob).await)? else { continue };
            let (layer, keys) = (layer.clone(), self.puller.config.verify_keys.clone());
            let valid = move |_: &Scope| Ok(cosign::is_valid(&layer, &content, digest, &keys));
            if self.scope.blocking(valid).await? {
                return Ok(Signatures::Valid);
            }
        }
        Ok(outcome)
    }

    /// The list of what refers to a manifest, where the registry has such lists.
    async fn referrers(&self, digest: Digest) -> Result<Option<Document>, Error> {
        let name = format!("{}/{}@{digest} referrers", self.reference.registry, self.reference.repository);
        if self.policy == PullPolicy::Never {
            let Some(list) = self.scope.recall(&name).await? else { return Ok(None) };
            return known(self.document(list.digest).await);
        }
        match self.repository.referrers(digest).await {
            Ok(bytes) => {
                let list = self.keep(bytes).await?;
                self.scope.remember(&name, list.digest).await?;
                Ok(Some(list))
            }
            Err(Error::UnknownImage { .. } | Error::RegistryAnswer { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What there is; nothing where it is unusable, which must not hide what else there is.
fn readable<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(Error::SizeMismatch { .. } | Error::DigestMismatch { .. }) => Ok(None),
        Err(error) if !error.retryable() => Ok(None),
        found => found.map(Some),
    }
}
