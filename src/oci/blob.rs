//! Verified blobs: bytes on disk become a [`Blob`] only by passing their size and digest check, or out of a layer that did.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::error::Error;
use crate::oci::digest::Digest;

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

/// A blob on disk whose size and digest were checked. It can be read until its last clone is dropped, even if the file
/// was removed.
#[derive(Debug, Clone)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    size: u64,
    /// Of a bound on blobs that exist at once.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Blob {
    /// A file whose bytes were checked to have this digest and size.
    pub(crate) fn verified(file: File, digest: Digest, size: u64) -> Self {
        Self { file: Arc::new(file), digest, size, _permit: None }
    }

    /// The same blob; it holds `permit` until its last clone is dropped.
    pub(crate) fn with_permit(self, permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(Arc::new(permit)), ..self }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset`. Blocks on the disk.
    ///
    /// # Errors
    /// What the system says, or an unexpected end if the range is not inside the blob.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// All of its bytes. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Disk`] if they cannot be read, or do not fit into memory.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let read = || {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(usize::try_from(self.size).map_err(io::Error::other)?)?;
            self.reader().read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| self.unreadable(source))
    }

    /// The error of a failed read.
    pub(crate) fn unreadable(&self, source: io::Error) -> Error {
        Error::Disk { object: self.digest.to_string(), source: Arc::new(source) }
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
        let read = self.blob.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
