//! Fetching manifests and lists of referrers (OCI distribution specification, "Pulling manifests" and "Listing
//! Referrers").

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::call::Call;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::repository::Repository;
use super::response::{Body, content_digest};
use crate::error::{Detail, Error};
use crate::oci::digest::Digest;
use crate::oci::manifest::{ACCEPT, MAX_MANIFEST_SIZE, Manifest};
use crate::util::metrics;

impl Repository<'_> {
    /// The present digest of a tag or digest, perhaps still `known`, without fetching anything; `None` if the registry
    /// does not say.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch.
    pub async fn head(&self, version: &str, known: Digest) -> Result<Option<Digest>, Error> {
        self.first(|endpoint| async move {
            let url = endpoint.url(&format!("manifests/{version}"))?;
            let call = Call::read(Method::HEAD, url).accept(ACCEPT).if_none_match(known);
            let _permit = self.registry.lookups.acquire().await;
            let response = self.read(endpoint, &call).await?;
            let is_unchanged = response.status() == StatusCode::NOT_MODIFIED;
            Ok(if is_unchanged { Some(known) } else { content_digest(&response) })
        })
        .await
    }

    /// Fetches the manifest of a tag or digest.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::DigestMismatch`] if its digest is not the requested one, or not
    /// the one that the registry states.
    pub async fn manifest(&self, version: &str) -> Result<Bytes, Error> {
        self.first(|endpoint| async move {
            let (stated, body) = self.document(endpoint, &format!("manifests/{version}")).await?;
            let (expected, actual) = (version.parse().ok().or(stated), Digest::of(&body));
            match expected.filter(|expected| *expected != actual) {
                Some(expected) => {
                    Err(Error::DigestMismatch { object: expected.to_string(), actual: actual.to_string() }.into())
                }
                None => Ok(body),
            }
        })
        .await
    }

    /// Fetches the list of the manifests that refer to the manifest `digest`.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::UnknownImage`] where the registry has no such lists.
    pub async fn referrers(&self, digest: Digest) -> Result<Bytes, Error> {
        self.first(|endpoint| async move {
            let (_, list) = self.document(endpoint, &format!("referrers/{digest}")).await?;
            // A mirror may have an empty list, and not the manifests that refer.
            let is_empty =
                || matches!(Manifest::parse(self.reference, &list), Ok(Manifest::Index(index)) if index.is_empty());
            if endpoint.is_mirror && is_empty() {
                let (reference, detail) = (self.reference.to_string(), Detail::default());
                return Err(Error::UnknownImage { reference, detail }.into());
            }
            Ok(list)
        })
        .await
    }

    /// Reads the document at `path` in the repository, and the digest that the registry states for it.
    async fn document(&self, endpoint: &Endpoint, path: &str) -> Result<(Option<Digest>, Bytes), Failure> {
        let call = Call::read(Method::GET, endpoint.url(path)?).accept(ACCEPT);
        let _permit = self.registry.lookups.acquire().await;
        let response = self.read(endpoint, &call).await?;
        let digest = content_digest(&response);
        let body = Body::new(response, MAX_MANIFEST_SIZE).whole().await?;
        metrics::fetched_bytes(self.registry.label(endpoint)).increment(body.len() as u64);
        Ok((digest, body.into()))
    }
}
