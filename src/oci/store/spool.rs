//! A blob while it is written to the store.

use std::io::{self, Seek, Write};

use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::task::{JoinHandle, spawn_blocking};

use super::scope::Scope;
use crate::error::Error;
use crate::oci::blob::{Blob, BlobHasher, Descriptor};
use crate::oci::digest::Digest;

/// A blob that is hashed as it is written to disk. It occupies a thread while a piece is written, and none while it waits
/// for the next one; a file, once there is something to write.
pub(crate) struct Spool {
    scope: Scope,
    expected: Descriptor,
    received: u64,
    /// What is written, once the last piece is; `None` before the first one, and after a failure.
    write: Option<JoinHandle<io::Result<Written>>>,
}

/// A file, and the hash of what is in it.
struct Written {
    file: NamedTempFile,
    hasher: BlobHasher,
}

impl Written {
    fn append(mut self, piece: &[u8]) -> io::Result<Self> {
        self.hasher.write_all(piece)?;
        self.file.write_all(piece)?;
        Ok(self)
    }

    fn restart(mut self) -> io::Result<Self> {
        self.file.as_file().set_len(0)?;
        self.file.rewind()?;
        Ok(Self { hasher: BlobHasher::default(), ..self })
    }
}

impl Scope {
    /// A spool for a blob.
    pub(crate) fn spool(&self, expected: Descriptor) -> Spool {
        Spool { scope: self.clone(), expected, received: 0, write: None }
    }

    /// Stores a small blob; returns its digest.
    pub(crate) async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let mut spool = self.spool(Descriptor { digest, size: bytes.len() as u64, media_type: String::new() });
        spool.write(bytes).await?;
        spool.commit().await.map(|_| digest)
    }
}

impl Spool {
    /// How many bytes are written, or queued for it.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Appends `piece`. May be dropped: the piece is then appended as a whole, or not at all.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] as soon as there are more bytes than the descriptor says, [`Error::Disk`] if they cannot
    /// be written.
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        let received = self.received + piece.len() as u64;
        if received > self.expected.size {
            return Err(self.size_mismatch(received));
        }
        let written = self.written().await?;
        self.received = received;
        self.write = Some(spawn_blocking(move || written.append(&piece)));
        Ok(())
    }

    /// Discards what was written.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        let written = self.written().await?;
        self.received = 0;
        self.write = Some(spawn_blocking(|| written.restart()));
        Ok(())
    }

    /// Waits until all that was received is written.
    async fn written(&mut self) -> Result<Written, Error> {
        let scope = &self.scope;
        let write = match &mut self.write {
            Some(write) => write,
            none if self.received == 0 => none.insert(spawn_blocking({
                let scope = scope.clone();
                move || Ok(Written { file: scope.store.new_file()?, hasher: BlobHasher::default() })
            })),
            None => return Err(Error::disk(&scope.store.root, io::Error::other("the spool has failed"))),
        };
        let written = write.await.map_err(io::Error::other).flatten();
        self.write = None;
        written.map_err(|source| Error::disk(&scope.store.root, source))
    }

    /// Ends the spool, and removes its file. A spool that is dropped does the same in the background.
    pub(crate) async fn discard(mut self) {
        if self.write.is_some() {
            let _ = self.written().await;
        }
    }

    /// Ends the spool; its bytes become a blob in the store if they match the descriptor. A blob that exceeds the limit
    /// of the whole store is not kept there.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::SizeMismatch`] and [`Error::DigestMismatch`].
    pub(crate) async fn commit(mut self) -> Result<Blob, Error> {
        if self.received != self.expected.size {
            return Err(self.size_mismatch(self.received));
        }
        let Written { file, hasher } = self.written().await?;
        let (actual, _, checksums) = hasher.finish();
        let Self { scope, expected: Descriptor { digest, .. }, .. } = self;
        digest.require(actual)?;
        scope.blocking(move |scope| scope.persist(file, digest, checksums)).await
    }

    /// The error of another size than the descriptor's.
    pub(crate) fn size_mismatch(&self, actual: u64) -> Error {
        let Descriptor { digest, size, .. } = &self.expected;
        Error::SizeMismatch { object: digest.to_string(), expected: *size, actual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::store::{Store, StoreOptions};

    fn descriptor(bytes: &[u8]) -> Descriptor {
        Descriptor { digest: Digest::of(bytes), size: bytes.len() as u64, media_type: "application/wasm".into() }
    }

    async fn spool(expected: Descriptor, pieces: &[&'static [u8]]) -> Result<Blob, Error> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions { folder: folder.path().into(), is_named: true, limit: 1 << 20 })?;
        let scope = store.scope(b"");
        let mut spool = scope.spool(expected.clone());
        spool.write(Bytes::from_static(b"hel")).await?;
        spool.restart().await?;
        for piece in pieces {
            spool.write(Bytes::from_static(piece)).await?;
        }
        let blob = spool.commit().await?;
        assert_eq!(scope.blob(expected.digest).await?.map(|blob| blob.size()), Some(expected.size));
        Ok(blob)
    }

    #[tokio::test]
    async fn bytes_that_match_their_descriptor_are_a_blob() {
        let blob = spool(descriptor(b"hello world"), &[b"hello", b" ", b"world"]).await.unwrap();
        let mut word = [0; 5];
        blob.read_at(&mut word, 6).unwrap();
        assert_eq!((&word, blob.size()), (b"world", 11));
        assert!(blob.read_at(&mut word, 7).is_err());
    }

    #[tokio::test]
    async fn other_bytes_are_not() {
        for (pieces, code) in [
            (&[b"hello".as_slice()][..], "size-mismatch"),
            (&[b"hello", b" world!"], "size-mismatch"),
            (&[b"hello", b" World"], "digest-mismatch"),
        ] {
            assert_eq!(spool(descriptor(b"hello world"), pieces).await.unwrap_err().code(), code);
        }
    }
}
