//! What a client of this library wants of a proplet beyond what devices do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::assembly::{Chunk, Reception};
use crate::error::Error;
use crate::mqtt::status::Status;
use crate::oci::digest::Digest;

/// Digests of one app that are remembered: those it meant while it was waited for.
const MAX_DIGESTS: usize = 8;

/// What is heard of an app while somebody waits for it.
#[derive(Debug)]
pub(super) struct Watch {
    app_name: String,
    /// What proxies told that it is.
    pub(super) digests: Vec<Digest>,
    /// Why a proxy told that it will not come.
    pub(super) failure: Option<Error>,
    /// In what way it did not come as one copy of each chunk in their order.
    pub(super) irregularity: Option<String>,
    /// Which chunks were heard, where order is insisted on; of which total, and the last of them.
    heard: Option<HashSet<u64>>,
    total_chunks: Option<u64>,
    last_index: Option<u64>,
}

impl Watch {
    pub(super) fn new(app_name: &str, is_strict: bool) -> Self {
        Self {
            app_name: app_name.to_owned(),
            digests: Vec::new(),
            failure: None,
            irregularity: None,
            heard: is_strict.then(HashSet::new),
            total_chunks: None,
            last_index: None,
        }
    }

    pub(super) fn is_for(&self, app_name: &str) -> bool {
        *self.app_name == *app_name
    }

    /// Takes in a chunk. Who joins a running transfer hears the end of it first.
    pub(super) fn hear(&mut self, seen: &SeenChunk) {
        let Some(heard) = self.heard.as_mut().filter(|_| *seen.app_name == *self.app_name) else { return };
        let SeenChunk { index, total_chunks, .. } = *seen;
        let is_new = heard.insert(index);
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
            // That is enough to know.
            self.heard = None;
        }
        self.total_chunks = Some(total_chunks);
        self.irregularity = self.irregularity.take().or(irregularity);
        self.last_index = Some(index);
    }

    /// Takes in what a proxy tells.
    pub(super) fn hear_status(&mut self, status: &Status) {
        if status.app_name != self.app_name {
            return;
        }
        if let Some(digest) = status.digest
            && !self.digests.contains(&digest)
            && self.digests.len() < MAX_DIGESTS
        {
            self.digests.push(digest);
        }
        // One that stops takes its requests up again when it is back, and what was withdrawn was nobody's.
        let failure = status.failure().filter(|failure| !["stopping", "withdrawn"].contains(&failure.code()));
        self.failure = failure.or(self.failure.take());
    }
}

/// A chunk as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenChunk {
    /// The module as it was asked for.
    pub app_name: Arc<str>,
    /// The chunk.
    pub index: u64,
    /// The number of chunks that it claims.
    pub total_chunks: u64,
    /// Its bytes of module.
    pub size: usize,
    /// What became of it.
    pub reception: Reception,
    /// When it was heard.
    pub time: SystemTime,
}

impl SeenChunk {
    /// The chunk, of which `last` was heard before.
    pub(super) fn of(chunk: &Chunk, last: Option<&Self>) -> Self {
        let &Chunk { ref app_name, index, total_chunks, ref data } = chunk;
        // Mostly it is the same name, which is kept once.
        let known = last.map(|last| &last.app_name).filter(|known| ***known == **app_name);
        let app_name = known.map_or_else(|| app_name.as_str().into(), Arc::clone);
        let (size, time) = (data.len(), SystemTime::now());
        Self { app_name, index, total_chunks, size, reception: Reception::Stored, time }
    }
}
