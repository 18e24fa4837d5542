//! A file that is being written, with the hash of what is in it; and such a file of a download that was broken off.

use std::io::{self, Seek, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use crate::oci::blob::BlobHasher;
use crate::oci::digest::Digest;

/// A file, and the hash of what is in it.
pub(super) struct Written {
    pub(super) file: NamedTempFile,
    pub(super) hasher: BlobHasher,
}

/// What has come of a download.
pub(super) struct Part {
    pub(super) received: u64,
    /// What is written, once the last piece is.
    pub(super) write: JoinHandle<io::Result<Written>>,
}

/// Of what a part is: the folder of its scope, the host that sent it, the digest and size of the whole.
pub(super) type PartKey = (PathBuf, String, Digest, u64);

impl Written {
    pub(super) fn new(file: NamedTempFile) -> Self {
        Self { file, hasher: BlobHasher::default() }
    }

    pub(super) fn append(mut self, piece: &[u8]) -> io::Result<Self> {
        self.hasher.write_all(piece)?;
        self.file.write_all(piece)?;
        Ok(self)
    }

    pub(super) fn restart(mut self) -> io::Result<Self> {
        self.file.as_file().set_len(0)?;
        self.file.rewind()?;
        Ok(Self::new(self.file))
    }
}
