//! Verified blobs: bytes become a [`Blob`] only by passing their size and digest check while they are spooled to disk.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Error;

/// Pieces of a body that wait to be written to the spool; each is one read from the network, some tens of KiB.
const SPOOL_QUEUE: usize = 2;

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits (OCI image specification, "Digests").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.strip_prefix("sha256:").ok_or(())?.as_bytes();
        let mut digest = [0; 32];
        if hex.len() != 64 {
            return Err(());
        }
        for (byte, pair) in digest.iter_mut().zip(hex.as_chunks::<2>().0) {
            let nibble = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(()),
            };
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the registry vouches for: the digest and size of a blob (OCI image specification, "Descriptor").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// What the publisher says it is.
    pub media_type: String,
}

/// A blob on disk whose size and digest matched its descriptor. Its file has no name and goes with the last clone.
#[derive(Debug, Clone)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    size: u64,
}

impl Blob {
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
}

/// A blob on its way to disk, hashed as it is written.
pub struct Spool {
    expected: Descriptor,
    received: u64,
    pieces: mpsc::Sender<Bytes>,
    writer: JoinHandle<io::Result<(File, Digest)>>,
}

impl Spool {
    /// Opens a spool in the system's folder for temporary files.
    #[must_use]
    pub fn open(expected: Descriptor) -> Self {
        let (pieces, mut queue) = mpsc::channel::<Bytes>(SPOOL_QUEUE);
        let writer = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::tempfile()?;
            let mut hasher = Sha256::new();
            while let Some(piece) = queue.blocking_recv() {
                hasher.update(&piece);
                file.write_all(&piece)?;
            }
            Ok((file, Digest(hasher.finalize().into())))
        });
        Self { expected, received: 0, pieces, writer }
    }

    /// Appends `piece`.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] as soon as there are more bytes than the descriptor says. What the disk says comes from
    /// [`Spool::verify`].
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.received += piece.len() as u64;
        if self.received > self.expected.size {
            return Err(self.size_mismatch());
        }
        // The writer is gone only after an error, which `verify` returns.
        let _ = self.pieces.send(piece).await;
        Ok(())
    }

    /// Ends the spool; its bytes are a blob if they are what the descriptor says.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::SizeMismatch`] and [`Error::DigestMismatch`].
    pub async fn verify(self) -> Result<Blob, Error> {
        let Self { ref expected, received, .. } = self;
        let (size, object) = (expected.size, expected.digest);
        let mismatch = (received != size).then(|| self.size_mismatch());
        drop(self.pieces);
        let written = self.writer.await.map_err(io::Error::other).and_then(|result| result);
        let (file, digest) = written.map_err(disk_error)?;
        if let Some(mismatch) = mismatch {
            return Err(mismatch);
        }
        if digest != object {
            return Err(Error::DigestMismatch { object: object.to_string(), actual: digest.to_string() });
        }
        Ok(Blob { file: Arc::new(file), digest, size })
    }

    fn size_mismatch(&self) -> Error {
        let Descriptor { digest, size, .. } = &self.expected;
        Error::SizeMismatch { object: digest.to_string(), expected: *size, actual: self.received }
    }
}

/// An error of the spool, with the folder it is in.
pub(crate) fn disk_error(source: io::Error) -> Error {
    Error::Disk { object: std::env::temp_dir().display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(bytes: &[u8]) -> Descriptor {
        Descriptor { digest: Digest::of(bytes), size: bytes.len() as u64, media_type: "application/wasm".into() }
    }

    async fn spool(expected: Descriptor, pieces: &[&'static [u8]]) -> Result<Blob, Error> {
        let mut spool = Spool::open(expected);
        for piece in pieces {
            spool.write(Bytes::from_static(piece)).await?;
        }
        spool.verify().await
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

    #[test]
    fn digests_are_written_in_lower_case_hexadecimal() {
        let text = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        assert_eq!(Digest::of(b"hello world").to_string(), text);
        assert_eq!(text.parse(), Ok(Digest::of(b"hello world")));
        for bad in [
            "",
            "sha256:",
            &text[..70],
            &text.to_uppercase(),
            "sha512:00",
            &format!("{text}0"),
            &text.replace('b', "é"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
