//! What a proplet has received: assemblies, the last chunks, and the news of pending requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::assembly::{Assemblies, Assembly, Chunk, Reception, Tally};
use super::pending::PendingRequest;
use super::seen::SeenChunk;
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
        if self.pending.values().any(|request| request.is_for(&seen.app_name)) {
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
        locked.pending.insert(id, PendingRequest::new(app_name, is_strict));
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
