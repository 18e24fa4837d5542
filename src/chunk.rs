//! The chunk plan: how a module is cut.

use std::num::NonZeroU32;

/// A module cut into chunks of one size, the last one shorter where it does not divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlan {
    size: u64,
    chunk_size: NonZeroU32,
}

impl ChunkPlan {
    /// Cuts `size` bytes into chunks of `chunk_size` bytes.
    #[must_use]
    pub fn new(size: u64, chunk_size: NonZeroU32) -> Self {
        Self { size, chunk_size }
    }

    /// The number of chunks. An empty module, which no registry can hold as Wasm, would be one empty chunk.
    #[must_use]
    pub fn total_chunks(&self) -> u64 {
        self.size.div_ceil(u64::from(self.chunk_size.get())).max(1)
    }

    /// Where chunk `index` begins and how many bytes it has.
    #[must_use]
    pub fn chunk(&self, index: u64) -> (u64, u32) {
        let chunk_size = self.chunk_size.get();
        let offset = index * u64::from(chunk_size);
        let rest = u32::try_from(self.size.saturating_sub(offset)).unwrap_or(u32::MAX);
        (offset, rest.min(chunk_size))
    }
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
}
