//! The first bytes of a blob, for those who only look.

use reqwest::Method;

use super::Repository;
use super::retry::retrying;
use super::transport::{Body, Call};
use crate::error::Error;
use crate::oci::blob::Descriptor;
use crate::oci::wasm;

impl Repository<'_> {
    /// The first [`wasm::PREAMBLE_SIZE`] bytes of a blob, as the registry shows them: nothing vouches for them.
    ///
    /// # Errors
    /// Those of the stage fetch.
    pub async fn preamble(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        self.first(|endpoint| async move {
            let call = Call::new(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
            let call = call.ending_at(wasm::PREAMBLE_SIZE);
            retrying(endpoint.mirror, || async {
                let _permit = self.registry.transfers.acquire().await;
                let mut body = Body::new(self.try_ask(endpoint, &call).await?, u64::MAX);
                let mut start = Vec::new();
                // A registry that does no ranges begins to send all of it.
                while start.len() < wasm::PREAMBLE_SIZE
                    && let Some(piece) = body.next().await?
                {
                    start.extend_from_slice(&piece);
                }
                start.truncate(wasm::PREAMBLE_SIZE);
                Ok(start)
            })
            .await
        })
        .await
    }
}
