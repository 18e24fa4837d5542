//! What a client of this library wants of a proplet beyond what devices do.

use std::time::SystemTime;

use super::assembly::{Chunk, Reception};
use crate::blob::Digest;
use crate::error::{Class, Error};
use crate::status::{State, Status};

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
    last_index: Option<u64>,
}

impl Watch {
    pub(super) fn new(app_name: &str) -> Self {
        let app_name = app_name.to_owned();
        Self { app_name, digests: Vec::new(), failure: None, irregularity: None, last_index: None }
    }

    /// Takes in what became of a chunk. Who joins a running transfer hears the end of it first.
    pub(super) fn hear(&mut self, seen: &SeenChunk) {
        if *seen.app_name != *self.app_name {
            return;
        }
        let SeenChunk { index, total_chunks, reception, .. } = *seen;
        let irregularity = match (reception, self.last_index) {
            (Reception::Repeated, _) => Some(format!("chunk {index} came again")),
            (Reception::OtherTotal, _) => Some(format!("chunk {index} came with another total, {total_chunks}")),
            (_, Some(last)) if index != (last + 1) % total_chunks.max(1) => {
                Some(format!("chunk {index} of {total_chunks} came after chunk {last}"))
            }
            _ => None,
        };
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
        // One that stops takes its requests up again when it is back.
        if let (State::Failed, Some(error)) = (status.state, &status.error)
            && error.code != "stopping"
        {
            let class = Class::ALL.iter().find(|class| class.code == error.code).copied();
            self.failure = Some(Error::Reported { class, message: error.message.clone() });
        }
    }
}

/// A chunk as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenChunk {
    /// The module as it was asked for.
    pub app_name: String,
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
    pub(super) fn of(chunk: &Chunk) -> Self {
        let &Chunk { ref app_name, index, total_chunks, ref data } = chunk;
        let (app_name, size, time) = (app_name.clone(), data.len(), SystemTime::now());
        Self { app_name, index, total_chunks, size, reception: Reception::Stored, time }
    }
}
