//! Pulling (OCI distribution specification, "Pull" and "Listing Referrers"): manifests, lists of referrers, and blobs.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::call::Call;
use super::endpoint::Endpoint;
use super::failure::{Failure, redacted};
use super::peer::Kind;
use super::repository::Repository;
use super::response::{Body, content_digest, continues};
use crate::error::{Detail, Error};
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::manifest::{ACCEPT, MAX_MANIFEST_SIZE, Manifest};
use crate::oci::store::{Scope, Spool};
use crate::oci::wasm::PREAMBLE_SIZE;
use crate::util::metrics;

/// The progress of the download of one blob, readable at any time.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    size: AtomicU64,
}

impl Progress {
    /// The bytes received, and the size of the blob; 0 while nothing is downloaded.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed))
    }
}

impl Repository<'_> {
    /// The present digest of a tag or digest, perhaps still `known`, without fetching anything; `None` if the registry
    /// does not say.
    pub(crate) async fn head(&self, version: &str, known: Digest) -> Result<Option<Digest>, Error> {
        self.first(|endpoint| async move {
            let url = endpoint.url(&format!("manifests/{version}"))?;
            let call = Call::read(Method::HEAD, url).accept(ACCEPT).if_none_match(known);
            let _place = self.registry.place(endpoint, Kind::Lookup, &self.party).await?;
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
    pub(crate) async fn manifest(&self, version: &str) -> Result<Bytes, Error> {
        self.first(|endpoint| async move {
            let (stated, body) = self.document(endpoint, &format!("manifests/{version}")).await?;
            if let Some(expected) = version.parse().ok().or(stated) {
                expected.require(Digest::of(&body))?;
            }
            Ok(body)
        })
        .await
    }

    /// Fetches the list of the manifests that refer to the manifest `digest`.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::UnknownImage`] where the registry has no such lists.
    pub(crate) async fn referrers(&self, digest: Digest) -> Result<Bytes, Error> {
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

    /// Downloads a blob to `scope`, verified; `progress` shows how much of it has come. What came before a failure is kept
    /// for the next try.
    pub(crate) async fn fetch(
        &self,
        blob: &Descriptor,
        scope: &Scope,
        progress: Option<&Progress>,
    ) -> Result<Blob, Error> {
        self.first(|endpoint| async move {
            let spool = scope.resume(blob.clone(), &endpoint.host);
            let is_resumed = spool.received() > 0;
            match self.download_to(spool, endpoint, blob, progress).await {
                // What was kept of an earlier try is wrong.
                Err(Error::DigestMismatch { .. }) if is_resumed => {
                    let spool = scope.resume(blob.clone(), &endpoint.host);
                    Ok(self.download_to(spool, endpoint, blob, progress).await?)
                }
                downloaded => Ok(downloaded?),
            }
        })
        .await
    }

    /// Downloads the bytes that the spool lacks, and verifies all of them.
    async fn download_to(
        &self,
        mut spool: Spool,
        endpoint: &Endpoint,
        blob: &Descriptor,
        progress: Option<&Progress>,
    ) -> Result<Blob, Error> {
        match self.download(endpoint, blob, &mut spool, progress).await {
            Ok(()) => spool.commit().await,
            // What came is kept, as it is if this is dropped.
            Err(error @ (Error::RegistryUnreachable { .. } | Error::RegistryAnswer { .. })) => Err(error),
            Err(error) => {
                spool.discard().await;
                Err(error)
            }
        }
    }

    /// The first [`PREAMBLE_SIZE`] bytes of a blob, not verified.
    pub(crate) async fn preamble(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        self.first(|endpoint| async move {
            let call = Call::read(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
            let _place = self.registry.place(endpoint, Kind::Transfer, &self.party).await?;
            let response = self.read(endpoint, &call.ending_at(PREAMBLE_SIZE)).await?;
            let (mut body, mut start) = (Body::new(response, u64::MAX), Vec::new());
            // A registry without ranges sends all of it.
            while start.len() < PREAMBLE_SIZE
                && let Some(piece) = body.next().await?
            {
                start.extend_from_slice(&piece);
            }
            start.truncate(PREAMBLE_SIZE);
            Ok(start)
        })
        .await
    }

    /// Reads the document at `path` in the repository, and the digest that the registry states for it.
    async fn document(&self, endpoint: &Endpoint, path: &str) -> Result<(Option<Digest>, Bytes), Failure> {
        let call = Call::read(Method::GET, endpoint.url(path)?).accept(ACCEPT);
        let _place = self.registry.place(endpoint, Kind::Lookup, &self.party).await?;
        let response = self.read(endpoint, &call).await?;
        let digest = content_digest(&response);
        let body = Body::new(response, MAX_MANIFEST_SIZE).whole().await?;
        metrics::fetched_bytes(self.registry.label(endpoint)).increment(body.len() as u64);
        Ok((digest, body.into()))
    }

    /// Downloads a blob, and resumes after an interruption. Retries are counted here: progress renews their budget.
    async fn download(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        spool: &mut Spool,
        progress: Option<&Progress>,
    ) -> Result<(), Error> {
        let call = Call::read(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
        let (mut retries, mut furthest) = (endpoint.retries(), spool.received());
        while let Err(failure) = self.download_rest(endpoint, &call, blob, spool, progress).await {
            if spool.received() > furthest {
                furthest = spool.received();
                retries.renew();
            }
            retries.wait(failure).await?;
        }
        Ok(())
    }

    /// Downloads the bytes that the spool lacks. Where the registry ignores the range, or answers with another, the
    /// spool is restarted.
    async fn download_rest(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        blob: &Descriptor,
        spool: &mut Spool,
        progress: Option<&Progress>,
    ) -> Result<(), Failure> {
        let _place = self.registry.place(endpoint, Kind::Transfer, &self.party).await?;
        let offset = spool.received();
        if offset == blob.size && offset > 0 {
            return Ok(());
        }
        let response = self.read(endpoint, &call.clone().starting_at(offset)).await?;
        match response.status() {
            _ if offset == 0 => {}
            StatusCode::PARTIAL_CONTENT if continues(&response, offset, blob.size) => {}
            StatusCode::OK => spool.restart().await?,
            status => {
                spool.restart().await?;
                let detail = format!("{status} is not the range from byte {offset}");
                let error = Error::RegistryAnswer { object: redacted(response.url()), detail };
                return Err(Failure::Transient(error, None));
            }
        }
        let announced = response.content_length().map(|length| spool.received().saturating_add(length));
        if let Some(actual) = announced.filter(|size| *size != blob.size) {
            return Err(spool.size_mismatch(actual).into());
        }
        let mut body = Body::new(response, u64::MAX);
        let bytes = metrics::fetched_bytes(self.registry.label(endpoint));
        while let Some(piece) = body.next().await? {
            bytes.increment(piece.len() as u64);
            spool.write(piece).await?;
            if let Some(progress) = progress {
                progress.received.store(spool.received(), Ordering::Relaxed);
                progress.size.store(blob.size, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
