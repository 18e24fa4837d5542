//! Verified blobs: bytes on disk become a [`Blob`] only by passing their size and digest check, or out of a layer that did.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use crate::error::Error;
use crate::oci::digest::{Digest, Hasher};

/// Bytes of a blob with one checksum; the last block may have fewer.
#[doc(alias = "bound")]
const BLOCK_SIZE: usize = 16 << 10;

/// What a registry states of a blob: its digest and size (OCI image specification, "Descriptor").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Its media type, according to the publisher.
    pub media_type: String,
}

impl Descriptor {
    /// Requires that its blob has so many bytes as it states.
    pub(crate) fn require_size(&self, actual: u64) -> Result<(), Error> {
        if actual == self.size {
            return Ok(());
        }
        Err(Error::SizeMismatch { object: self.digest.to_string(), expected: self.size, actual })
    }
}

/// The CRC-32 of each of a blob's blocks, taken from the bytes that were hashed to verify it.
pub(crate) type Checksums = Arc<[u32]>;

/// A blob on disk whose size and digest were checked. It can be read until its last clone is dropped, even if the file
/// was removed. What is read is checked against the checksums of its blocks, since a disk may return other bytes than
/// were written, and another process may change them in place.
#[derive(Debug, Clone)]
pub struct Blob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    digest: Digest,
    size: u64,
    checksums: Checksums,
    /// Its place in the store.
    path: Option<PathBuf>,
    is_damaged: AtomicBool,
    /// Of a bound on blobs that exist at once.
    _permit: Option<OwnedSemaphorePermit>,
}

/// A blob as long as others have it, and it is what was verified.
#[derive(Debug, Default)]
pub(crate) struct WeakBlob(Weak<Inner>);

impl WeakBlob {
    /// The blob.
    pub(crate) fn upgrade(&self) -> Option<Blob> {
        self.0.upgrade().filter(|blob| !blob.is_damaged.load(Ordering::Relaxed)).map(Blob)
    }
}

/// A block of a blob is not what was verified.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the block at byte {offset} is not what was verified")]
pub(crate) struct Damage {
    offset: u64,
}

impl Damage {
    /// Whether `error` is one, or was caused by one.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(damage) = error.downcast_ref() {
                return Some(*damage);
            }
            // An error of the system's kind passes over the one that it holds.
            let held = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
            cause = held.map(|held| held as _).or_else(|| error.source());
        }
        None
    }
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        Self::new(io::ErrorKind::InvalidData, damage)
    }
}

/// Hashes the bytes of a blob on their way to or from the disk, and takes the checksums of its blocks.
#[derive(Default)]
pub(crate) struct BlobHasher {
    hasher: Hasher,
    size: u64,
    block: crc32fast::Hasher,
    /// The bytes of the block that is not full.
    filled: usize,
    checksums: Vec<u32>,
}

impl BlobHasher {
    /// The digest of all bytes, their number and their checksums.
    pub(crate) fn finish(mut self) -> (Digest, u64, Checksums) {
        if self.filled > 0 {
            self.checksums.push(self.block.finalize());
        }
        (self.hasher.digest(), self.size, self.checksums.into())
    }
}

impl Write for BlobHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(BLOCK_SIZE - self.filled));
            self.block.update(part);
            self.filled += part.len();
            if self.filled == BLOCK_SIZE {
                self.checksums.push(std::mem::take(&mut self.block).finalize());
                self.filled = 0;
            }
            rest = after;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Blob {
    /// A file at `path` in the store, whose bytes, `size` of them, were checked to have this digest, and have these
    /// checksums.
    pub(crate) fn stored(file: File, digest: Digest, size: u64, checksums: Checksums, path: PathBuf) -> Self {
        let is_damaged = AtomicBool::default();
        Self(Arc::new(Inner { file, digest, size, checksums, path: Some(path), is_damaged, _permit: None }))
    }

    /// Such a file that has no name in the store. It holds `permit` until its last clone is dropped.
    pub(crate) fn apart(
        file: File,
        digest: Digest,
        size: u64,
        checksums: Checksums,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let is_damaged = AtomicBool::default();
        Self(Arc::new(Inner { file, digest, size, checksums, path: None, is_damaged, _permit: permit }))
    }

    /// The blob for those who do not keep it.
    pub(crate) fn downgrade(&self) -> WeakBlob {
        WeakBlob(Arc::downgrade(&self.0))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Fills `buffer` from `offset`. A blob of which a block cannot be read, or is not what was verified, is removed from
    /// the store, so that it is fetched again. Blocks on the disk.
    ///
    /// # Errors
    /// What the system says; invalid data if a block is not what was verified; an unexpected end if the range is not inside
    /// the blob.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.0.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_checked(buffer, offset).inspect_err(|error| self.set_aside(error))
    }

    /// Reads all at once, and checks the blocks that are in `buffer` as a whole; of the others, at both ends, it reads the
    /// whole block, and takes the part from there.
    fn read_checked(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.file.read_exact_at(buffer, offset)?;
        let (mut rest, mut offset) = (buffer, offset);
        let mut whole = [0; BLOCK_SIZE];
        while !rest.is_empty() {
            let index = offset / BLOCK_SIZE as u64;
            let start = index * BLOCK_SIZE as u64;
            let block =
                &mut whole[..usize::try_from(self.0.size - start).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE))];
            let skipped = usize::try_from(offset - start).map_err(io::Error::other)?;
            let (part, after) = rest.split_at_mut((block.len() - skipped).min(rest.len()));
            if part.len() == block.len() {
                self.check(index, part)?;
            } else {
                self.0.file.read_exact_at(block, start)?;
                self.check(index, block)?;
                part.copy_from_slice(&block[skipped..skipped + part.len()]);
            }
            offset += part.len() as u64;
            rest = after;
        }
        Ok(())
    }

    fn check(&self, index: u64, block: &[u8]) -> io::Result<()> {
        let checksum = usize::try_from(index).ok().and_then(|index| self.0.checksums.get(index));
        if checksum == Some(&crc32fast::hash(block)) {
            return Ok(());
        }
        let offset = index * BLOCK_SIZE as u64;
        Err(Damage { offset }.into())
    }

    /// Removes its file from the store, unless another one has its name by now.
    fn set_aside(&self, error: &io::Error) {
        self.0.is_damaged.store(true, Ordering::Relaxed);
        let Some(path) = &self.0.path else { return };
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let is_it = fs::symlink_metadata(path).map(inode).ok() == self.0.file.metadata().map(inode).ok();
        let is_removed = is_it && fs::remove_file(path).is_ok();
        warn!(event = "blob-damaged", digest = %self.0.digest, path = %path.display(), is_removed, "damaged: a stored blob is not what it was: {error}");
    }

    /// All of its bytes. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Disk`] if they cannot be read, or do not fit into memory.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let read = || {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(usize::try_from(self.0.size).map_err(io::Error::other)?)?;
            self.reader().read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| self.unreadable(source))
    }

    /// The error of a failed read.
    pub(crate) fn unreadable(&self, source: io::Error) -> Error {
        Error::Disk { object: self.0.digest.to_string(), source: Arc::new(source) }
    }

    /// Reads it from its beginning. Blocks on the disk.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), offset: 0 }
    }
}

/// A position in a blob.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    offset: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.size() - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.blob.read_at(&mut buffer[..length], self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    const SIZE: usize = 3 * BLOCK_SIZE + 1000;

    fn blob(bytes: &[u8]) -> (Blob, File) {
        let mut file = tempfile::tempfile().unwrap();
        let mut hasher = BlobHasher::default();
        // In pieces that are no blocks.
        for piece in bytes.chunks(7001) {
            file.write_all(piece).unwrap();
            hasher.write_all(piece).unwrap();
        }
        let (digest, size, checksums) = hasher.finish();
        assert_eq!((digest, size), (Digest::of(bytes), bytes.len() as u64));
        (Blob::apart(file.try_clone().unwrap(), digest, size, checksums, None), file)
    }

    fn pattern() -> Vec<u8> {
        (0..SIZE).map(|index| u8::try_from(index % 251).unwrap()).collect()
    }

    #[test]
    fn any_range_is_read() {
        let bytes = pattern();
        let (blob, _file) = blob(&bytes);
        for (offset, length) in [
            (0, SIZE),
            (0, 1),
            (SIZE - 1, 1),
            (5, BLOCK_SIZE),
            (BLOCK_SIZE, BLOCK_SIZE),
            (BLOCK_SIZE - 1, BLOCK_SIZE + 2),
            (BLOCK_SIZE + 7, 2 * BLOCK_SIZE),
            (3 * BLOCK_SIZE, 1000),
            (SIZE, 0),
        ] {
            let mut buffer = vec![0; length];
            blob.read_at(&mut buffer, offset as u64).unwrap();
            assert_eq!(buffer, bytes[offset..offset + length], "{length} bytes from {offset}");
        }
        assert_eq!(blob.read().unwrap(), bytes);
        let weak = blob.downgrade();
        assert_eq!(weak.upgrade().map(|blob| blob.digest()), Some(blob.digest()));
        assert_eq!(blob.read_at(&mut [0; 2], SIZE as u64 - 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(blob.read_at(&mut [0; 2], u64::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn bytes_that_change_on_disk_are_never_returned() {
        let bytes = pattern();
        let (blob, file) = blob(&bytes);
        let changed = 2 * BLOCK_SIZE + 100;
        file.write_all_at(&[!bytes[changed]], changed as u64).unwrap();
        let read =
            |offset: usize, length: usize| blob.read_at(&mut vec![0; length], offset as u64).map_err(|e| e.kind());
        for (offset, length) in [(changed, 1), (2 * BLOCK_SIZE, BLOCK_SIZE), (changed + 50, 10), (0, SIZE)] {
            assert_eq!(read(offset, length), Err(io::ErrorKind::InvalidData), "{length} bytes from {offset}");
        }
        assert_eq!(read(0, 2 * BLOCK_SIZE), Ok(()), "the blocks before it");
        assert_eq!(read(3 * BLOCK_SIZE, 1000), Ok(()), "the block behind it");
        assert!(blob.read().is_err());
        assert!(blob.downgrade().upgrade().is_none(), "nobody else gets it");
        file.set_len(10).unwrap();
        assert_eq!(read(3 * BLOCK_SIZE, 1000), Err(io::ErrorKind::UnexpectedEof), "truncated");
    }

    #[test]
    fn a_damaged_blob_leaves_its_place_in_the_store_and_its_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let (blob, mut file) = blob(&pattern());
        file.rewind().unwrap();
        io::copy(&mut file, &mut File::create(&path).unwrap()).unwrap();
        let checksums = Arc::clone(&blob.0.checksums);
        let stored = Blob::stored(File::open(&path).unwrap(), blob.digest(), blob.size(), checksums, path.clone());
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"?", 0).unwrap();
        assert!(stored.read_at(&mut [0; 1], 1).is_err());
        assert!(!path.exists());
        fs::write(&path, "fetched again").unwrap();
        assert!(stored.read_at(&mut [0; 1], 1).is_err());
        assert!(path.exists());
    }
}
