//! The record of a received chunk.

use std::sync::Arc;
use std::time::SystemTime;

use super::assembly::{Chunk, Reception};

/// A chunk that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenChunk {
    /// Its `app_name`.
    pub app_name: Arc<str>,
    /// Its index.
    pub index: u64,
    /// Its `total_chunks`.
    pub total_chunks: u64,
    /// Its bytes of module.
    pub size: usize,
    /// What the assembly did with it.
    pub reception: Reception,
    /// When it was received.
    pub time: SystemTime,
}

impl SeenChunk {
    /// The record of `chunk`, which `previous` came before.
    pub(super) fn of(chunk: &Chunk, reception: Reception, previous: Option<&Self>) -> Self {
        let &Chunk { ref app_name, index, total_chunks, ref data } = chunk;
        // Mostly the name is the same: it is stored once.
        let same = previous.map(|previous| &previous.app_name).filter(|previous| ***previous == **app_name);
        let app_name = same.map_or_else(|| app_name.as_str().into(), Arc::clone);
        Self { app_name, index, total_chunks, size: data.len(), reception, time: SystemTime::now() }
    }
}
