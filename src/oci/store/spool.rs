//! A blob while it is written to the store.

use std::io;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::scope::Scope;
use super::written::{Part, PartKey, Written};
use crate::error::Error;
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;

/// A blob that is hashed as it is written to disk. It occupies a thread while a piece is written, and none while it waits
/// for the next one; a file, once there is something to write.
pub(crate) struct Spool {
    scope: Scope,
    expected: Descriptor,
    received: u64,
    /// What is written, once the last piece is; `None` before the first one, and after a failure.
    write: Option<JoinHandle<io::Result<Written>>>,
    /// Under what the store keeps it, if it is dropped before its end.
    key: Option<PartKey>,
}

impl Scope {
    /// A spool for a blob.
    pub(crate) fn spool(&self, expected: Descriptor) -> Spool {
        Spool { scope: self.clone(), expected, received: 0, write: None, key: None }
    }

    /// A spool for a blob that `host` sends, with what has come from there before. If it is dropped before its end, the
    /// store keeps what is in it.
    pub(crate) fn resume(&self, expected: Descriptor, host: &str) -> Spool {
        let key = (self.folder.clone(), host.to_owned(), expected.digest, expected.size);
        let part = self.store.partials.take(&key);
        let (received, write) = part.map_or((0, None), |part| (part.received, Some(part.write)));
        Spool { scope: self.clone(), expected, received, write, key: Some(key) }
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
                move || scope.store.new_file().map(Written::new)
            })),
            None => return Err(Error::disk(&scope.store.root, io::Error::other("the spool has failed"))),
        };
        let written = write.await.map_err(io::Error::other).flatten();
        self.write = None;
        written.map_err(|source| Error::disk(&scope.store.root, source))
    }

    /// Ends the spool, and removes its file.
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
        // From here on nothing is kept for another try: it is the blob, or wrong.
        self.key = None;
        if self.received != self.expected.size {
            return Err(self.size_mismatch(self.received));
        }
        let Written { file, hasher } = self.written().await?;
        let (actual, _, checksums) = hasher.finish();
        let digest = self.expected.digest;
        digest.require(actual)?;
        self.scope.blocking(move |scope| scope.persist(file, digest, checksums)).await
    }

    /// The error of another size than the descriptor's.
    pub(crate) fn size_mismatch(&self, actual: u64) -> Error {
        let Descriptor { digest, size, .. } = &self.expected;
        Error::SizeMismatch { object: digest.to_string(), expected: *size, actual }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let (Some(write), Some(key), 1..) = (self.write.take(), self.key.take(), self.received) {
            self.scope.store.partials.keep(key, Part { received: self.received, write }, self.received);
        }
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

    #[tokio::test]
    async fn what_came_is_kept_for_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { folder: folder.path().into(), is_named: true, limit: 1 << 20 };
        let scope = Store::open(&options).unwrap().scope(b"");
        let expected = descriptor(b"hello world");
        let mut first = scope.resume(expected.clone(), "host");
        first.write(Bytes::from_static(b"hello")).await.unwrap();
        drop(first);
        assert_eq!(scope.resume(expected.clone(), "mirror").received(), 0, "another host may send other bytes");
        let mut second = scope.resume(expected.clone(), "host");
        assert_eq!(second.received(), 5);
        assert_eq!(scope.resume(expected.clone(), "host").received(), 0, "one writes it at a time");
        second.write(Bytes::from_static(b" world")).await.unwrap();
        assert_eq!(second.commit().await.unwrap().read().unwrap(), b"hello world");
        assert_eq!(scope.resume(expected.clone(), "host").received(), 0, "it is a blob now");

        let mut wrong = scope.resume(expected.clone(), "host");
        wrong.write(Bytes::from_static(b"hello_world")).await.unwrap();
        assert_eq!(wrong.commit().await.unwrap_err().code(), "digest-mismatch");
        assert_eq!(scope.resume(expected.clone(), "host").received(), 0, "wrong bytes are not kept");

        let mut short = scope.resume(expected.clone(), "host");
        short.write(Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(short.commit().await.unwrap_err().code(), "size-mismatch");
        assert_eq!(scope.resume(expected, "host").received(), 0, "nor is what ended too early");
    }
}
