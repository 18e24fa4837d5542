//! A request whose module has not arrived yet, for clients that need to know more than devices do.

use std::collections::HashSet;

use super::seen::SeenChunk;
use crate::error::Error;
use crate::mqtt::status::Status;
use crate::oci::digest::Digest;

/// Digests of status messages that are kept during one request.
#[doc(alias = "bound")]
const MAX_DIGESTS: usize = 8;
/// Errors that do not end a request: a proxy that stops resumes its requests when it runs again, and what was withdrawn
/// was another client's request.
const TEMPORARY: [&str; 2] = ["stopping", "withdrawn"];

/// What chunks and status messages say about one request.
#[derive(Debug)]
pub(super) struct PendingRequest {
    app_name: String,
    /// The digests of the module by the status messages.
    pub(super) digests: Vec<Digest>,
    /// Why a proxy is not going to deliver it.
    pub(super) failure: Option<Error>,
    /// How the chunks differ from one copy of each in order.
    pub(super) irregularity: Option<String>,
    /// The indexes so far, if the request is strict and the chunks are regular.
    indexes: Option<HashSet<u64>>,
    total_chunks: Option<u64>,
    last_index: Option<u64>,
}

impl PendingRequest {
    pub(super) fn new(app_name: &str, is_strict: bool) -> Self {
        Self {
            app_name: app_name.to_owned(),
            digests: Vec::new(),
            failure: None,
            irregularity: None,
            indexes: is_strict.then(HashSet::new),
            total_chunks: None,
            last_index: None,
        }
    }

    pub(super) fn is_for(&self, app_name: &str) -> bool {
        *self.app_name == *app_name
    }

    /// Checks the order of a chunk. A request that joins a running pass gets the end of the module first.
    pub(super) fn receive(&mut self, chunk: &SeenChunk) {
        let Some(indexes) = self.indexes.as_mut().filter(|_| *chunk.app_name == *self.app_name) else { return };
        let SeenChunk { index, total_chunks, .. } = *chunk;
        let is_new = indexes.insert(index);
        let irregularity = match self.last_index {
            _ if self.total_chunks.is_some_and(|total| total != total_chunks) => {
                Some(format!("chunk {index} came with another total, {total_chunks}"))
            }
            _ if !is_new => Some(format!("chunk {index} came again")),
            Some(last) if index != last.wrapping_add(1) % total_chunks.max(1) => {
                Some(format!("chunk {index} of {total_chunks} came after chunk {last}"))
            }
            _ => None,
        };
        if irregularity.is_some() {
            // The first irregularity is reported; later ones follow from it.
            self.indexes = None;
        }
        self.total_chunks = Some(total_chunks);
        self.irregularity = self.irregularity.take().or(irregularity);
        self.last_index = Some(index);
    }

    /// Notes the digest and the failure of a status message.
    pub(super) fn receive_status(&mut self, status: &Status) {
        if status.app_name != self.app_name {
            return;
        }
        if let Some(digest) = status.digest
            && !self.digests.contains(&digest)
            && self.digests.len() < MAX_DIGESTS
        {
            self.digests.push(digest);
        }
        let failure = status.failure().filter(|failure| !TEMPORARY.contains(&failure.code()));
        self.failure = failure.or(self.failure.take());
    }
}
