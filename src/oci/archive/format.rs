//! The formats of archives, and reading one within its limit.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use flate2::read::MultiGzDecoder;
use tokio_util::sync::CancellationToken;

use crate::oci::blob::Blob;
use crate::oci::wasm::is_wasm;

/// Bytes of an archive that are read or written at once.
#[doc(alias = "bound")]
pub(super) const BUFFER_SIZE: usize = 64 << 10;
/// Largest zstd window, as an exponent of 2: 8 MiB, which RFC 8878 (section 3.1.1.1.2) recommends every decoder to
/// support.
#[doc(alias = "bound")]
const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// The position of `ustar` in a tar header.
const TAR_MAGIC: Range<usize> = 257..262;

/// The format of a layer, by its first bytes: media types are often wrong about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveFormat {
    Tar,
    TarGzip,
    TarZstd,
}

impl ArchiveFormat {
    /// The format of a blob; `None` if it is no archive. Blocks on the disk.
    pub(crate) fn of(blob: &Blob) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        blob.reader().take(TAR_MAGIC.end as u64).read_to_end(&mut start)?;
        Ok(match start.as_slice() {
            start if is_wasm(start) => None,
            [0x1f, 0x8b, ..] => Some(Self::TarGzip),
            // A frame, or a skippable one before it (RFC 8878, section 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::TarZstd),
            start if start.get(TAR_MAGIC) == Some(b"ustar") => Some(Self::Tar),
            _ => None,
        })
    }

    /// Reads the tar in `blob`, decompressed: `limit` bytes at most, and until `cancelled`.
    pub(super) fn reader(self, blob: &Blob, limit: u64, cancelled: CancellationToken) -> io::Result<Limited> {
        let compressed = BufReader::with_capacity(BUFFER_SIZE, blob.reader());
        let reader: Box<dyn Read> = match self {
            Self::Tar => Box::new(compressed),
            Self::TarGzip => Box::new(MultiGzDecoder::new(compressed)),
            Self::TarZstd => {
                let mut decoder = zstd::Decoder::with_buffer(compressed)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Limited { reader, remaining: limit, cancelled })
    }
}

/// A reader that fails at its limit, and when it is cancelled.
pub(super) struct Limited {
    reader: Box<dyn Read>,
    remaining: u64,
    cancelled: CancellationToken,
}

/// An archive is larger, decompressed, than its limit.
#[derive(Debug, thiserror::Error)]
#[error("it is too large")]
pub(super) struct TooLarge;

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.reader.read(buffer)?;
        self.remaining = self.remaining.checked_sub(read as u64).ok_or_else(|| io::Error::other(TooLarge))?;
        Ok(read)
    }
}
