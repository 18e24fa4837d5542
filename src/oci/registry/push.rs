//! Pushing (OCI distribution specification, "Push"): to the registry itself, never to a mirror.

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response, StatusCode, Url};

use super::auth::Access;
use super::retry::{Failure, retrying};
use super::transport::{self, Call, location, shown};
use super::{Repository, content_digest};
use crate::error::{Detail, Error};
use crate::oci::artifact::{Artifact, Packed};
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::Version;

/// The media type of a blob on its way.
const BYTES: &str = "application/octet-stream";

impl Repository<'_> {
    /// Uploads the blobs of `artifact` that the registry does not have, and then the manifest as `version`. Returns the
    /// manifest's descriptor.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::DigestMismatch`] if `version` is the digest of another manifest, or
    /// the registry says that it got another.
    pub async fn push(&self, artifact: &Artifact, version: &Version) -> Result<Descriptor, Error> {
        let manifest = &artifact.manifest;
        let name = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => {
                same(*digest, manifest.digest)?;
                digest.to_string()
            }
        };
        let push = async {
            for blob in [&artifact.config, &artifact.layer] {
                retrying(false, || self.try_push_blob(blob)).await?;
            }
            retrying(false, || self.try_push_manifest(&name, manifest)).await
        };
        push.await.map_err(while_pushing)?;
        Ok(manifest.descriptor())
    }

    /// Uploads a blob, in one request, unless it is there.
    async fn try_push_blob(&self, blob: &Packed) -> Result<(), Failure> {
        let _permit = self.registry.transfers.acquire().await;
        if self.has(blob.digest).await? {
            return Ok(());
        }
        let uploads = self.origin.url("blobs/uploads/")?;
        let open = Call { body: Some(Bytes::new()), ..Call::new(Method::POST, uploads.clone()) };
        let opened = self.try_send(&open, &uploads).await?;
        let mut url = location(&self.expect(StatusCode::ACCEPTED, opened).await?)?;
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let upload = Call::new(Method::PUT, uploads).with(BYTES, blob.bytes.clone());
        let uploaded = self.try_send(&upload, &url).await?;
        self.expect(StatusCode::CREATED, uploaded).await.map(drop)
    }

    /// Whether the registry has a blob.
    async fn has(&self, digest: Digest) -> Result<bool, Failure> {
        let call = Call::new(Method::HEAD, self.origin.url(&format!("blobs/{digest}"))?);
        let response = self.try_send(&call, &call.url).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(false),
            // To the CDN, for what is there.
            StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT => Ok(true),
            _ => transport::success(self.reference, response).await.map(|_| true),
        }
    }

    async fn try_push_manifest(&self, name: &str, manifest: &Packed) -> Result<(), Failure> {
        let _permit = self.registry.lookups.acquire().await;
        let url = self.origin.url(&format!("manifests/{name}"))?;
        let call = Call::new(Method::PUT, url).with(manifest.media_type, manifest.bytes.clone());
        let response = self.try_send(&call, &call.url).await?;
        let response = self.expect(StatusCode::CREATED, response).await?;
        Ok(content_digest(&response).map_or(Ok(()), |said| same(manifest.digest, said))?)
    }

    /// Sends a call of the registry to `url`, where the registry may have led it. Redirects are not followed, and only the
    /// registry itself is shown who pushes.
    async fn try_send(&self, call: &Call, url: &Url) -> Result<Response, Failure> {
        let is_own = url.origin() == call.url.origin();
        let send = |authorization: Option<HeaderValue>| async move {
            let authorization = authorization.filter(|_| is_own);
            self.registry.transport.send_once(call, url, authorization.as_ref()).await
        };
        self.authorized(&self.origin, Access::Push, call, send).await
    }

    /// Lets pass the one answer that the specification allows.
    async fn expect(&self, status: StatusCode, response: Response) -> Result<Response, Failure> {
        let response = transport::success(self.reference, response).await?;
        if response.status() == status {
            return Ok(response);
        }
        let detail = format!("{} where {status} is due", response.status());
        Err(Error::RegistryAnswer { object: shown(response.url()), detail }.into())
    }
}

fn same(expected: Digest, actual: Digest) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::DigestMismatch { object: expected.to_string(), actual: actual.to_string() })
}

/// The same error, saying what was under way.
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
