//! What a proplet has received: assemblies, the last chunks, and the news of pending requests, for clients that need to
//! know more than devices do.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::assembly::{Assemblies, Assembly, Chunk, Reception, Tally};
use crate::error::Error;
use crate::mqtt::request::MAX_REQUEST_SIZE;
use crate::mqtt::status::Status;
use crate::oci::digest::Digest;
use crate::util::sync::lock;

/// Chunks that `Proplet::seen` lists; the oldest are removed first.
#[doc(alias = "bound")]
pub const MAX_SEEN: usize = 1 << 16;
/// How often old assemblies are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Digests of status messages that are kept during one request.
#[doc(alias = "bound")]
const MAX_DIGESTS: usize = 8;
/// Errors that do not end a request: a proxy that stops resumes its requests when it runs again, and what was withdrawn
/// was another client's request.
const TEMPORARY: [&str; 2] = ["stopping", "withdrawn"];

/// Everything that was received so far.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    pub(super) assemblies: Assemblies,
    pub(super) tally: Tally,
    pub(super) seen: VecDeque<SeenChunk>,
    pending: HashMap<u64, PendingRequest>,
    last_id: u64,
    swept_at: Option<Instant>,
}

impl Receiver {
    /// Receives a message on the answer topic; `None` is one that is no chunk.
    pub(super) fn receive(&mut self, chunk: Option<Chunk>) {
        let now = Instant::now();
        if self.swept_at.is_none_or(|swept_at| now - swept_at >= SWEEP_INTERVAL) {
            self.swept_at = Some(now);
            self.assemblies.sweep(now);
        }
        let Some(chunk) = chunk else { return self.tally.count(Reception::Unreadable) };
        let mut seen = SeenChunk::of(&chunk, Reception::Stored, self.seen.back());
        seen.reception = self.assemblies.store(chunk, now);
        self.tally.count(seen.reception);
        self.pending.values_mut().for_each(|request| request.receive(&seen));
        if self.pending.values().any(|request| *request.app_name == *seen.app_name) {
            self.assemblies.hash(&seen.app_name);
        }
        if seen.app_name.len() > MAX_REQUEST_SIZE {
            // No request can have this name.
            return;
        }
        if self.seen.len() == MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    /// Receives a message on the status topic.
    pub(super) fn receive_status(&mut self, payload: &[u8]) {
        if let Ok(status) = serde_json::from_slice::<Status>(payload) {
            self.pending.values_mut().for_each(|request| request.receive_status(&status));
        }
    }
}

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
    fn of(chunk: &Chunk, reception: Reception, previous: Option<&Self>) -> Self {
        let &Chunk { ref app_name, index, total_chunks, ref data } = chunk;
        // Mostly the name is the same: it is stored once.
        let same = previous.map(|previous| &previous.app_name).filter(|previous| ***previous == **app_name);
        let app_name = same.map_or_else(|| app_name.as_str().into(), Arc::clone);
        Self { app_name, index, total_chunks, size: data.len(), reception, time: SystemTime::now() }
    }
}

/// What chunks and status messages say about one request.
#[derive(Debug, Default)]
struct PendingRequest {
    app_name: String,
    /// The digests of the module by the status messages.
    digests: Vec<Digest>,
    /// Why a proxy is not going to deliver it.
    failure: Option<Error>,
    /// How the chunks differ from one copy of each in order.
    irregularity: Option<String>,
    /// The indexes so far, if the request is strict and the chunks are regular.
    indexes: Option<HashSet<u64>>,
    total_chunks: Option<u64>,
    last_index: Option<u64>,
}

impl PendingRequest {
    /// Checks the order of a chunk. A request that joins a running pass gets the end of the module first.
    fn receive(&mut self, chunk: &SeenChunk) {
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
    fn receive_status(&mut self, status: &Status) {
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

/// A pending request, removed when this is dropped.
pub(super) struct Pending<'a> {
    receiver: &'a Mutex<Receiver>,
    app_name: &'a str,
    id: u64,
}

impl<'a> Pending<'a> {
    pub(super) fn new(receiver: &'a Mutex<Receiver>, app_name: &'a str, is_strict: bool) -> Self {
        let mut locked = lock(receiver);
        locked.last_id += 1;
        let id = locked.last_id;
        let indexes = is_strict.then(HashSet::new);
        let request = PendingRequest { app_name: app_name.to_owned(), indexes, ..PendingRequest::default() };
        locked.pending.insert(id, request);
        Self { receiver, app_name, id }
    }

    /// Takes the assembly if it is complete.
    ///
    /// # Errors
    /// [`Error::Irregular`], [`Error::Reported`].
    pub(super) fn take(&self) -> Result<Option<Assembly>, Error> {
        let mut receiver = lock(self.receiver);
        if let Some(request) = receiver.pending.get(&self.id) {
            if let Some(reason) = request.irregularity.clone() {
                return Err(Error::Irregular { app_name: self.app_name.into(), reason });
            }
            if let Some(failure) = &request.failure {
                return Err(failure.clone());
            }
        }
        Ok(receiver.assemblies.take_assembly(self.app_name))
    }

    /// The digests of the module by the status messages so far.
    pub(super) fn digests(&self) -> Vec<Digest> {
        lock(self.receiver).pending.get(&self.id).map(|request| request.digests.clone()).unwrap_or_default()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        lock(self.receiver).pending.remove(&self.id);
    }
}
