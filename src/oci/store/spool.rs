//! A blob while it is written to the store.

use std::io::{self, Seek, Write};

use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::scope::Scope;
use crate::error::Error;
use crate::oci::blob::{Blob, BlobHasher, Checksums, Descriptor};
use crate::oci::digest::Digest;

/// Pieces of a body that are queued for the disk; each is one read from the network, some tens of KiB.
#[doc(alias = "bound")]
const SPOOL_QUEUE: usize = 2;

/// A blob that is hashed as it is written to disk.
pub(crate) struct Spool {
    scope: Scope,
    expected: Descriptor,
    received: u64,
    pieces: mpsc::Sender<Piece>,
    /// `None` once its end was awaited.
    writer: Option<JoinHandle<Written>>,
}

type Written = io::Result<(NamedTempFile, Digest, Checksums)>;

enum Piece {
    Bytes(Bytes),
    /// Discard what was written.
    Restart,
}

impl Scope {
    /// Opens a spool for a blob.
    pub(crate) async fn spool(&self, expected: Descriptor) -> Result<Spool, Error> {
        let file = self.blocking(|scope| scope.store.new_file()).await?;
        let (pieces, queue) = mpsc::channel(SPOOL_QUEUE);
        let writer = Some(tokio::task::spawn_blocking(|| write(file, queue)));
        Ok(Spool { scope: self.clone(), expected, received: 0, pieces, writer })
    }

    /// Stores a small blob; returns its digest.
    pub(crate) async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let mut spool = self.spool(Descriptor { digest, size: bytes.len() as u64, media_type: String::new() }).await?;
        spool.write(bytes).await?;
        spool.commit().await.map(|_| digest)
    }
}

impl Spool {
    /// How many bytes are written, or queued for it.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Appends `piece`.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] as soon as there are more bytes than the descriptor says, [`Error::Disk`] if they cannot
    /// be written.
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.received += piece.len() as u64;
        if self.received > self.expected.size {
            return Err(self.size_mismatch(self.received));
        }
        self.send(Piece::Bytes(piece)).await
    }

    /// Discards what was written.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.received = 0;
        self.send(Piece::Restart).await
    }

    async fn send(&mut self, piece: Piece) -> Result<(), Error> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The writer ends early only after an error.
        let closed = || io::Error::other("the spool is closed");
        let source = ended(&mut self.writer).await.err().unwrap_or_else(closed);
        Err(Error::disk(&self.scope.store.root, source))
    }

    /// Ends the spool, and removes its file. A spool that is dropped does the same in the background.
    pub(crate) async fn discard(mut self) {
        drop(self.pieces);
        let _ = ended(&mut self.writer).await;
    }

    /// Ends the spool; its bytes become a blob in the store if they match the descriptor. A blob that exceeds the limit
    /// of the whole store is not kept there.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::SizeMismatch`] and [`Error::DigestMismatch`].
    pub(crate) async fn commit(self) -> Result<Blob, Error> {
        if self.received != self.expected.size {
            return Err(self.size_mismatch(self.received));
        }
        let Self { scope, expected: Descriptor { digest, .. }, pieces, mut writer, .. } = self;
        drop(pieces);
        let written = ended(&mut writer).await;
        let (file, actual, checksums) = written.map_err(|source| Error::disk(&scope.store.root, source))?;
        digest.require(actual)?;
        scope.blocking(move |scope| scope.persist(file, digest, checksums)).await
    }

    /// The error of another size than the descriptor's.
    pub(crate) fn size_mismatch(&self, actual: u64) -> Error {
        let Descriptor { digest, size, .. } = &self.expected;
        Error::SizeMismatch { object: digest.to_string(), expected: *size, actual }
    }
}

/// Awaits the end of the writer; an error, too, if it was awaited before.
async fn ended(writer: &mut Option<JoinHandle<Written>>) -> Written {
    match writer.take() {
        Some(writer) => writer.await.map_err(io::Error::other).flatten(),
        None => Err(io::Error::other("the spool has failed")),
    }
}

fn write(mut file: NamedTempFile, mut queue: mpsc::Receiver<Piece>) -> Written {
    let mut hasher = BlobHasher::default();
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Bytes(piece) => {
                hasher.write_all(&piece)?;
                file.write_all(&piece)?;
            }
            Piece::Restart => {
                hasher = BlobHasher::default();
                file.as_file().set_len(0)?;
                file.rewind()?;
            }
        }
    }
    let (digest, _, checksums) = hasher.finish();
    Ok((file, digest, checksums))
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
        let mut spool = scope.spool(expected.clone()).await?;
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
