//! Pushing an artifact to its registry. Mirrors are not written to, and the store does not keep it.

use tokio::time::Instant;
use tracing::warn;

use super::puller::{Operation, Puller};
use crate::error::Error;
use crate::oci::artifact::Artifact;
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::{Reference, Version};
use crate::util::fair::Party;

impl Puller {
    /// Uploads `artifact` to the registry of `reference`, under its tag or digest; returns the manifest's descriptor.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::Denied`] if the policy does not permit the reference;
    /// [`Error::TooLarge`] if the layer could not be pulled; [`Error::DigestMismatch`] if the reference has the digest
    /// of another manifest.
    pub async fn push(&self, reference: &Reference, artifact: &Artifact) -> Result<Descriptor, Error> {
        let limit = self.options.max_module_size;
        if artifact.layer.bytes.len() as u64 > limit {
            return Err(Error::TooLarge { object: format!("layer {}, for pushing,", artifact.layer.digest), limit });
        }
        let repository = self.registry.repository(reference, Party::default()).await?;
        let deadline = Instant::now() + self.options.fetch_timeout;
        let push = Box::pin(repository.push(artifact, &reference.version));
        let pushed = self.within(deadline, reference, "pushing", push).await?;
        let identity = repository.identity();
        // The cached digest of the tag is outdated.
        if let Version::Tag(tag) = &reference.version {
            let name = reference.tag_name(tag);
            if let Err(error) = self.store.scope(&identity).cache_tag(&name, pushed.digest).await {
                warn!(tag = name, "pushed, but what the tag means now could not be noted: {error}");
            }
        }
        // So are the errors of its absence.
        let by_digest = Reference { version: Version::Digest(pushed.digest), ..reference.clone() };
        let identity = Digest::of(&identity);
        for operation in Operation::ALL {
            self.errors.remove(&(operation, reference.to_string(), identity));
            self.errors.remove(&(operation, by_digest.to_string(), identity));
        }
        Ok(pushed)
    }
}
