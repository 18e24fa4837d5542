//! Pushing: from an artifact to the registry. Mirrors and the store are not concerned.

use tracing::warn;

use super::Puller;
use super::question::{Question, within};
use crate::error::Error;
use crate::oci::artifact::Artifact;
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::{Reference, Version};

impl Puller {
    /// Uploads `artifact` to the registry of `reference`, under its tag or digest; returns the manifest's descriptor.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::Denied`] if the policy does not permit the reference;
    /// [`Error::TooLarge`] if the layer could not be pulled; [`Error::DigestMismatch`] if the reference has the digest of
    /// another manifest.
    pub async fn push(&self, reference: &Reference, artifact: &Artifact) -> Result<Descriptor, Error> {
        let limit = self.config.max_module_size;
        if artifact.layer.bytes.len() as u64 > limit {
            return Err(Error::TooLarge { object: format!("layer {}, for pushing,", artifact.layer.digest), limit });
        }
        let repository = self.registry.repository(reference).await?;
        let push = Box::pin(repository.push(artifact, &reference.version));
        let pushed = within(self.config.fetch_timeout, reference, "pushing", push).await?;
        // What the tag meant before is out of date.
        if let Version::Tag(tag) = &reference.version {
            let scope = self.store.scope(&repository.identity());
            let name = format!("{}/{}:{tag}", reference.registry, reference.repository);
            if let Err(error) = scope.remember(&name, pushed.digest).await {
                warn!(tag = name, "pushed, but what the tag means now could not be noted: {error}");
            }
        }
        // What was unknown is known now.
        let version = Version::Digest(pushed.digest);
        let identity = Digest::of(&repository.identity());
        for known in [reference, &Reference { version, ..reference.clone() }] {
            for question in Question::ALL {
                self.refusals.remove(&(question, known.to_string(), identity));
            }
        }
        Ok(pushed)
    }
}
