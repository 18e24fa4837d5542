//! Pushing (OCI distribution specification, "Push"): to the registry itself, never to a mirror.

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};

use super::call::Call;
use super::failure::{Failure, redacted};
use super::offers::Access;
use super::peer::Kind;
use super::repository::Repository;
use super::response::{content_digest, location, success};
use super::retry::RetryBudget;
use crate::error::{Detail, Error};
use crate::oci::artifact::{Artifact, Packed};
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::Version;

/// The media type of a blob in an upload.
const BYTES: &str = "application/octet-stream";

impl Repository<'_> {
    /// Uploads the blobs of `artifact` that the registry lacks, and then the manifest as `version`. Returns the
    /// manifest's descriptor.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::DigestMismatch`] if `version` is the digest of another manifest,
    /// or the registry states another one.
    pub(crate) async fn push(&self, artifact: &Artifact, version: &Version) -> Result<Descriptor, Error> {
        let manifest = &artifact.manifest;
        let name = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => {
                digest.require(manifest.digest)?;
                digest.to_string()
            }
        };
        let push = async {
            for blob in [&artifact.config, &artifact.layer] {
                RetryBudget::default().run(|| self.try_push_blob(blob)).await?;
            }
            RetryBudget::default().run(|| self.try_push_manifest(&name, manifest)).await
        };
        push.await.map_err(while_pushing)?;
        Ok(manifest.descriptor())
    }

    /// Uploads a blob, in one request, unless it is there.
    async fn try_push_blob(&self, blob: &Packed) -> Result<(), Failure> {
        let _place = self.registry.place(&self.origin, Kind::Transfer, &self.party).await?;
        if self.has(blob.digest).await? {
            return Ok(());
        }
        let uploads = self.origin.url("blobs/uploads/")?;
        let open = Call { body: Some(Bytes::new()), ..Call::new(Method::POST, uploads.clone()) };
        let opened = self.send(&open).await?;
        let mut url = location(&self.expect(StatusCode::ACCEPTED, opened).await?)?;
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let upload = Call::new(Method::PUT, uploads).with_body(BYTES, blob.bytes.clone());
        let uploaded = self.send(&Call { location: Some(url), ..upload }).await?;
        self.expect(StatusCode::CREATED, uploaded).await.map(drop)
    }

    /// Whether the registry has a blob.
    async fn has(&self, digest: Digest) -> Result<bool, Failure> {
        let call = Call::new(Method::HEAD, self.origin.url(&format!("blobs/{digest}"))?);
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(false),
            // To the CDN, for a blob that exists.
            StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT => Ok(true),
            _ => success(self.reference, response).await.map(|_| true),
        }
    }

    async fn try_push_manifest(&self, name: &str, manifest: &Packed) -> Result<(), Failure> {
        let _place = self.registry.place(&self.origin, Kind::Lookup, &self.party).await?;
        let url = self.origin.url(&format!("manifests/{name}"))?;
        let call = Call::new(Method::PUT, url).with_body(manifest.media_type, manifest.bytes.clone());
        let response = self.send(&call).await?;
        let response = self.expect(StatusCode::CREATED, response).await?;
        Ok(content_digest(&response).map_or(Ok(()), |stated| manifest.digest.require(stated))?)
    }

    async fn send(&self, call: &Call) -> Result<Response, Failure> {
        self.registry.send(self.reference, &self.origin, Access::Push, call).await
    }

    /// The response, if it has the one status that the specification permits.
    async fn expect(&self, status: StatusCode, response: Response) -> Result<Response, Failure> {
        let response = success(self.reference, response).await?;
        if response.status() == status {
            return Ok(response);
        }
        let detail = format!("{} where {status} is due", response.status());
        Err(Error::RegistryAnswer { object: redacted(response.url()), detail }.into())
    }
}

/// The same error, which says that it happened while pushing.
fn while_pushing(error: Error) -> Error {
    let pushing = |detail: &dyn std::fmt::Display| format!("while pushing: {detail}");
    let refused = |detail: &Detail| Detail::new(&format!("while pushing{detail}"));
    match error {
        Error::UnknownImage { reference, detail } => Error::UnknownImage { reference, detail: refused(&detail) },
        Error::Unauthorized { reference, detail } => Error::Unauthorized { reference, detail: refused(&detail) },
        Error::RegistryAnswer { object, detail } => Error::RegistryAnswer { object, detail: pushing(&detail) },
        Error::RegistryUnreachable { object, detail } => {
            Error::RegistryUnreachable { object, detail: pushing(&detail) }
        }
        Error::Denied { object, reason, refusal } => Error::Denied { object, reason: pushing(&reason), refusal },
        error => error,
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
