//! How a stock proplet assembles chunks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::oci::digest::{Digest, Hasher};

/// The age, from its first chunk, at which an assembly is removed.
#[doc(alias = "bound")]
pub const ASSEMBLY_TTL: Duration = Duration::from_secs(300);

/// The assemblies of one proplet by `app_name`: it stores every chunk on its topic, requested or not.
#[derive(Debug, Default)]
pub struct Assemblies(HashMap<String, Assembly>);

/// The chunks of one module so far.
#[derive(Debug)]
pub(super) struct Assembly {
    chunks: BTreeMap<u64, Vec<u8>>,
    total_chunks: u64,
    /// The digest of the first `hashed` chunks.
    hasher: Hasher,
    hashed: u64,
    started_at: Instant,
}

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// A new chunk was stored.
    Stored,
    /// The index is stored already: the first copy stays.
    Repeated,
    /// Its `total_chunks` differs from the assembly's: it is dropped.
    OtherTotal,
    /// It is no chunk message.
    Unreadable,
}

/// The number of messages by [`Reception`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// New chunks.
    pub stored: u64,
    /// Further copies of a chunk.
    pub repeated: u64,
    /// Chunks with another total.
    pub other_total: u64,
    /// Messages that are no chunk messages.
    pub unreadable: u64,
}

impl Tally {
    pub(super) fn count(&mut self, reception: Reception) {
        *match reception {
            Reception::Stored => &mut self.stored,
            Reception::Repeated => &mut self.repeated,
            Reception::OtherTotal => &mut self.other_total,
            Reception::Unreadable => &mut self.unreadable,
        } += 1;
    }
}

/// A chunk message of wire protocol 1, decoded.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) app_name: String,
    pub(super) index: u64,
    pub(super) total_chunks: u64,
    pub(super) data: Vec<u8>,
}

impl Chunk {
    /// Decodes a message; `None` if it is no chunk message.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            app_name: String,
            chunk_idx: u64,
            total_chunks: u64,
            #[serde(borrow)]
            data: Cow<'a, str>,
        }
        let Fields { app_name, chunk_idx: index, total_chunks, data } = serde_json::from_slice(message).ok()?;
        let data = base64_simd::STANDARD.decode_to_vec(data.as_bytes()).ok()?;
        Some(Self { app_name, index, total_chunks, data })
    }
}

impl Assembly {
    fn hash(&mut self) {
        while let Some(data) = self.chunks.get(&self.hashed) {
            self.hasher.update(data);
            self.hashed += 1;
        }
    }

    /// The digest of the complete module, and its pieces.
    pub(super) fn finish(mut self) -> (Digest, Vec<Vec<u8>>) {
        self.hash();
        (self.hasher.digest(), self.chunks.into_values().collect())
    }
}

impl Assemblies {
    /// Stores the chunk in a message that arrived at `now`.
    pub fn receive(&mut self, message: &[u8], now: Instant) -> Reception {
        Chunk::read(message).map_or(Reception::Unreadable, |chunk| self.store(chunk, now))
    }

    /// Stores a chunk that arrived at `now`.
    pub(super) fn store(&mut self, chunk: Chunk, now: Instant) -> Reception {
        let assembly = self.0.entry(chunk.app_name).or_insert_with(|| Assembly {
            chunks: BTreeMap::new(),
            total_chunks: chunk.total_chunks,
            hasher: Hasher::default(),
            hashed: 0,
            started_at: now,
        });
        if assembly.total_chunks != chunk.total_chunks {
            return Reception::OtherTotal;
        }
        match assembly.chunks.entry(chunk.index) {
            Entry::Vacant(place) => {
                place.insert(chunk.data);
                Reception::Stored
            }
            Entry::Occupied(_) => Reception::Repeated,
        }
    }

    /// The number of chunks of a module so far, and of all.
    #[must_use]
    pub fn progress(&self, app_name: &str) -> (u64, u64) {
        self.0.get(app_name).map_or((0, 0), |assembly| (assembly.chunks.len() as u64, assembly.total_chunks))
    }

    /// Removes and returns a module if it is complete, as the next poll of a stock task does.
    pub fn take(&mut self, app_name: &str) -> Option<Vec<u8>> {
        Some(self.take_assembly(app_name)?.chunks.into_values().collect::<Vec<_>>().concat())
    }

    /// Removes and returns an assembly if it is complete.
    pub(super) fn take_assembly(&mut self, app_name: &str) -> Option<Assembly> {
        let assembly = self.0.get(app_name)?;
        if assembly.chunks.len() as u64 != assembly.total_chunks {
            return None;
        }
        self.0.remove(app_name)
    }

    /// Hashes the chunks of a module so far, so that little remains to be hashed at the end.
    pub(super) fn hash(&mut self, app_name: &str) {
        if let Some(assembly) = self.0.get_mut(app_name) {
            assembly.hash();
        }
    }

    /// Removes assemblies older than [`ASSEMBLY_TTL`]; stock devices do so every 60 s.
    pub fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, assembly| now.duration_since(assembly.started_at) < ASSEMBLY_TTL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::chunk::Encoder;

    #[test]
    fn chunks_assemble_in_any_order_and_the_first_copy_wins() {
        let (encoder, now) = (Encoder::new("a", 3), Instant::now());
        let mut assemblies = Assemblies::default();
        for (index, data) in [(2, "c"), (0, "a"), (0, "x"), (1, "b")] {
            assert_eq!(assemblies.take("a"), None);
            assemblies.receive(&encoder.message(index, data.as_bytes()), now);
        }
        assert_eq!(assemblies.take("a").unwrap(), b"abc");
        assert_eq!(assemblies.take("a"), None);
    }

    #[test]
    fn another_total_is_dropped_and_noise_ignored() {
        let now = Instant::now();
        let mut assemblies = Assemblies::default();
        assemblies.receive(&Encoder::new("a", 3).message(0, b"a"), now);
        assert_eq!(assemblies.receive(&Encoder::new("a", 2).message(1, b"b"), now), Reception::OtherTotal);
        assert_eq!(assemblies.receive(b"{}", now), Reception::Unreadable);
        assert_eq!(assemblies.progress("a"), (1, 3));
    }

    #[test]
    fn an_assembly_dies_after_its_time() {
        let now = Instant::now();
        let mut assemblies = Assemblies::default();
        assemblies.receive(&Encoder::new("a", 2).message(0, b"a"), now);
        assemblies.sweep(now + Duration::from_secs(299));
        assert_eq!(assemblies.progress("a"), (1, 2));
        assemblies.sweep(now + ASSEMBLY_TTL);
        assert_eq!(assemblies.progress("a"), (0, 0));
    }
}
