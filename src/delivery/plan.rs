//! The chunk plan: how a module is cut.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A module cut into chunks, each with at least one byte.
///
/// As a rule they are of one size, the last one shorter where it does not divide. If there are more than that takes, they
/// are as even as can be, and the first ones are a byte longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Record")]
pub struct ChunkPlan {
    size: u64,
    chunk_size: NonZeroU32,
    total_chunks: u64,
}

/// A plan as it was written, if it is one.
#[derive(Deserialize)]
struct Record {
    size: u64,
    chunk_size: NonZeroU32,
    total_chunks: u64,
}

impl TryFrom<Record> for ChunkPlan {
    type Error = &'static str;

    fn try_from(Record { size, chunk_size, total_chunks }: Record) -> Result<Self, Self::Error> {
        Self::with_total(size, chunk_size, total_chunks).ok_or("no module can be cut like this")
    }
}

impl ChunkPlan {
    /// Cuts `size` bytes into chunks of `chunk_size` bytes. An empty module, which no registry can hold as Wasm, would be
    /// one empty chunk.
    #[must_use]
    pub fn new(size: u64, chunk_size: NonZeroU32) -> Self {
        Self { size, chunk_size, total_chunks: least_chunks(size, chunk_size) }
    }

    /// Cuts `size` bytes into `total_chunks`, none larger than `chunk_size`; `None` if that cannot be.
    #[must_use]
    pub fn with_total(size: u64, chunk_size: NonZeroU32, total_chunks: u64) -> Option<Self> {
        let possible = total_chunks >= least_chunks(size, chunk_size) && total_chunks <= size.max(1);
        possible.then_some(Self { size, chunk_size, total_chunks })
    }

    /// The number of chunks.
    #[must_use]
    pub fn total_chunks(&self) -> u64 {
        self.total_chunks
    }

    /// The size of the module, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size that no chunk exceeds, bytes.
    #[must_use]
    pub fn chunk_size(&self) -> NonZeroU32 {
        self.chunk_size
    }

    /// Where chunk `index` begins and how many bytes it has.
    #[must_use]
    pub fn chunk(&self, index: u64) -> (u64, u32) {
        let (begin, end) = (self.offset(index), self.offset(index + 1));
        (begin, u32::try_from(end - begin).unwrap_or(u32::MAX))
    }

    fn offset(&self, index: u64) -> u64 {
        let offset = if self.total_chunks == least_chunks(self.size, self.chunk_size) {
            index.saturating_mul(u64::from(self.chunk_size.get()))
        } else {
            index * (self.size / self.total_chunks) + index.min(self.size % self.total_chunks)
        };
        offset.min(self.size)
    }
}

fn least_chunks(size: u64, chunk_size: NonZeroU32) -> u64 {
    size.div_ceil(u64::from(chunk_size.get())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_module_once() {
        for (size, chunk_size, expected) in [
            (8, 512_000, vec![(0, 8)]),
            (10, 10, vec![(0, 10)]),
            (11, 10, vec![(0, 10), (10, 1)]),
            (30, 10, vec![(0, 10), (10, 10), (20, 10)]),
            (3, 1, vec![(0, 1), (1, 1), (2, 1)]),
        ] {
            let plan = ChunkPlan::new(size, NonZeroU32::new(chunk_size).unwrap());
            let chunks: Vec<_> = (0..plan.total_chunks()).map(|index| plan.chunk(index)).collect();
            assert_eq!(chunks, expected);
        }
    }

    #[test]
    fn a_plan_with_more_chunks_is_even() {
        let chunk_size = NonZeroU32::new(5).unwrap();
        let plan = ChunkPlan::with_total(11, chunk_size, 4).unwrap();
        let chunks: Vec<_> = (0..4).map(|index| plan.chunk(index)).collect();
        assert_eq!(chunks, [(0, 3), (3, 3), (6, 3), (9, 2)]);
        assert_eq!(ChunkPlan::with_total(11, chunk_size, 3), Some(ChunkPlan::new(11, chunk_size)));
        assert_eq!(ChunkPlan::with_total(11, chunk_size, 2), None, "chunks would be too large");
        assert_eq!(ChunkPlan::with_total(11, chunk_size, 12), None, "chunks would be empty");
    }

    #[test]
    fn a_plan_that_cannot_be_is_no_record() {
        let read = |size: u64, total_chunks: u64| {
            let json = format!(r#"{{"size":{size},"chunk_size":10,"total_chunks":{total_chunks}}}"#);
            serde_json::from_str::<ChunkPlan>(&json).ok()
        };
        let plan = read(25, 3).unwrap();
        assert_eq!(Some(plan), ChunkPlan::with_total(25, NonZeroU32::new(10).unwrap(), 3));
        assert_eq!(serde_json::from_str::<ChunkPlan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        for (size, total_chunks) in [(25, 0), (25, 2), (25, 26), (0, 7)] {
            assert_eq!(read(size, total_chunks), None, "{size} bytes in {total_chunks} chunks");
        }
    }

    #[test]
    fn the_largest_module_has_a_last_chunk() {
        let plan = ChunkPlan::new(u64::MAX, NonZeroU32::new(10).unwrap());
        assert_eq!(plan.chunk(plan.total_chunks() - 1), (u64::MAX - 5, 5));
    }
}
