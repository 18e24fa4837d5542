//! Verified blobs: bytes on disk become a [`Blob`] only by passing their size and digest check.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::Error;

/// Bytes that are read from a file at once.
const BUFFER_SIZE: usize = 128 << 10;

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits (OCI image specification, "Digests").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of what `reader` reads to its end.
    ///
    /// # Errors
    /// The reader's.
    pub fn of_reader(reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        io::copy(&mut io::BufReader::with_capacity(BUFFER_SIZE, reader), &mut hasher)?;
        Ok(hasher.digest())
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.to_string().split_off("sha256:".len())
    }
}

/// A digest that is being computed.
#[derive(Debug, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn digest(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::update(self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map_err(|()| "not a SHA-256 digest")
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

/// A blob on disk whose size and digest were checked. It can be read until its last clone is gone, whatever becomes of
/// its name.
#[derive(Debug, Clone)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    size: u64,
    /// What it takes a place of, as long as it is there.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Blob {
    /// Bytes that were checked to be these.
    pub(crate) fn verified(file: File, digest: Digest, size: u64) -> Self {
        Self { file: Arc::new(file), digest, size, _place: None }
    }

    /// The same, in a place of which there are only so many.
    pub(crate) fn in_place(self, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(Arc::new(place)), ..self }
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

    /// The error of not being able to read it.
    pub(crate) fn unreadable(&self, source: io::Error) -> Error {
        Error::Disk { object: self.digest.to_string(), source: Arc::new(source) }
    }

    /// Reads it from its beginning. Blocks on the disk.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), offset: 0 }
    }
}

/// A place in a blob.
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

#[cfg(test)]
mod tests {
    use super::*;

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
