//! Downloading blobs (OCI distribution specification, "Pulling blobs").

use reqwest::{Method, StatusCode};

use super::call::Call;
use super::endpoint::Endpoint;
use super::failure::{Failure, redacted};
use super::repository::Repository;
use super::response::{Body, continues};
use crate::error::Error;
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::store::{Scope, Spool};
use crate::oci::wasm::PREAMBLE_SIZE;
use crate::util::metrics;

impl Repository<'_> {
    /// Downloads a blob to `scope`, verified.
    ///
    /// # Errors
    /// Those of the stage fetch.
    pub async fn fetch(&self, blob: &Descriptor, scope: &Scope) -> Result<Blob, Error> {
        self.first(|endpoint| async move {
            let mut spool = scope.spool(blob.clone()).await?;
            match self.download(endpoint, blob, &mut spool).await {
                Ok(()) => Ok(spool.commit().await?),
                Err(error) => {
                    spool.discard().await;
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// The first [`PREAMBLE_SIZE`] bytes of a blob, not verified.
    ///
    /// # Errors
    /// Those of the stage fetch.
    pub async fn preamble(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        self.first(|endpoint| async move {
            let call = Call::read(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
            let _permit = self.registry.transfers.acquire().await;
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

    /// Downloads a blob, and resumes after an interruption. Retries are counted here: progress renews their budget.
    async fn download(&self, endpoint: &Endpoint, blob: &Descriptor, spool: &mut Spool) -> Result<(), Error> {
        let call = Call::read(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
        let (mut retries, mut furthest) = (endpoint.retries(), 0);
        while let Err(failure) = self.download_rest(endpoint, &call, blob, spool).await {
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
    ) -> Result<(), Failure> {
        let _permit = self.registry.transfers.acquire().await;
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
            self.progress.record(blob, spool.received());
        }
        Ok(())
    }
}
