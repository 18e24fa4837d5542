//! Extracting the module from a layer that is an archive: tar, plain or compressed by gzip or zstd.
//!
//! It knows archives and which of their files is the module. It must never use a path of an archive as one of the file
//! system: paths are compared only, and the module is written to a file without a name.

mod entries;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::{ControlFlow, Range};

use flate2::read::MultiGzDecoder;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use self::entries::{Entry, visit};
use crate::error::Error;
use crate::oci::blob::{Blob, BlobHasher, Damage};
use crate::oci::reference::Reference;
use crate::oci::refusal::{ambiguous, listed, unsupported};
use crate::oci::wasm::{has_wasm_extension, is_wasm};

/// Candidates in an archive that are kept; more than one is an error unless a path is given.
#[doc(alias = "bound")]
const MAX_CANDIDATES: usize = 64;
/// Bytes of an archive that are read or written at once.
#[doc(alias = "bound")]
const BUFFER_SIZE: usize = 64 << 10;
/// Largest zstd window, as an exponent of 2: 8 MiB, which RFC 8878 (section 3.1.1.1.2) recommends every decoder to
/// support.
#[doc(alias = "bound")]
const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// The position of `ustar` in a tar header.
const TAR_MAGIC: Range<usize> = 257..262;

/// Which file of an archive is the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModulePath {
    /// The path that the reference requires.
    pub(crate) required: Option<String>,
    /// Paths in the order of preference, before the only `*.wasm`.
    pub(crate) preferred: Vec<String>,
}

/// A layer that is an archive.
pub(crate) struct ArchivedLayer {
    pub(crate) blob: Blob,
    pub(crate) format: ArchiveFormat,
    /// Largest size of the decompressed archive, bytes.
    pub(crate) limit: u64,
    pub(crate) cancelled: CancellationToken,
}

/// An entry that may be the module.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) path: String,
    position: usize,
    /// Bytes of its content.
    pub(crate) size: u64,
    is_file: bool,
}

impl ArchivedLayer {
    /// Finds the module. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Ambiguous`] and [`Error::TooLarge`].
    pub(crate) fn find(&self, reference: &Reference, path: &ModulePath) -> Result<Candidate, Error> {
        let candidates = self.list_candidates(path).map_err(|error| self.unreadable(reference, &error))?;
        let candidate = select(reference, path, &candidates)?;
        refuse_link(reference, candidate)?;
        Ok(candidate.clone())
    }

    /// The entries that may be the module, each path once: of two with one path the later one counts.
    fn list_candidates(&self, path: &ModulePath) -> io::Result<Vec<Candidate>> {
        let named: Vec<_> = path.required.iter().chain(&path.preferred).filter_map(|path| normalized(path)).collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        visit(self.reader()?, |Entry { position, path, kind, size, .. }| {
            let Some(path) = normalized(path) else { return Ok(ControlFlow::Continue(())) };
            let is_named = named.contains(&path);
            // Whiteouts and the companions of macOS files are no modules.
            let is_hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            let is_file = kind.is_file() || kind.is_contiguous();
            if (is_file || kind.is_hard_link() || kind.is_symlink())
                && (is_named || has_wasm_extension(&path) && !is_hidden)
            {
                candidates.retain(|earlier| earlier.path != path);
                if candidates.len() < MAX_CANDIDATES || is_named {
                    candidates.push(Candidate { path, position, size, is_file });
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(candidates)
    }

    /// Writes the module to `file`; the blob holds `permit`. Blocks on the disk.
    ///
    /// # Errors
    /// As [`ArchivedLayer::find`], and [`Error::Disk`] if `file` cannot be written.
    pub(crate) fn extract(
        &self,
        reference: &Reference,
        candidate: &Candidate,
        file: File,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Blob, Error> {
        let mut output = Output::to(file);
        let mut copy = |Entry { position, content, .. }: Entry<'_>| -> io::Result<ControlFlow<()>> {
            if position != candidate.position {
                return Ok(ControlFlow::Continue(()));
            }
            io::copy(&mut BufReader::with_capacity(BUFFER_SIZE, content), &mut output)?;
            Ok(ControlFlow::Break(()))
        };
        let copied = self.reader().and_then(|reader| visit(reader, &mut copy));
        if let Some(failure) = output.failure {
            return Err(self.blob.unreadable(failure));
        }
        copied.map_err(|error| self.unreadable(reference, &error))?;
        let (digest, size, checksums) = output.hasher.finish();
        Ok(Blob::apart(output.file, digest, size, checksums, permit))
    }

    /// The tar, decompressed: up to the limit, and until it is cancelled.
    fn reader(&self) -> io::Result<Limited> {
        let compressed = BufReader::with_capacity(BUFFER_SIZE, self.blob.reader());
        let reader: Box<dyn Read> = match self.format {
            ArchiveFormat::Tar => Box::new(compressed),
            ArchiveFormat::TarGzip => Box::new(MultiGzDecoder::new(compressed)),
            ArchiveFormat::TarZstd => {
                let mut decoder = zstd::Decoder::with_buffer(compressed)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Limited { reader, remaining: self.limit, cancelled: self.cancelled.clone() })
    }

    fn unreadable(&self, reference: &Reference, error: &io::Error) -> Error {
        let digest = self.blob.digest();
        if let Some(damage) = Damage::of(error) {
            return self.blob.unreadable(damage.into());
        }
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(TooLarge) => Error::TooLarge { object: format!("what {digest} unpacks to"), limit: self.limit },
            None => unsupported(reference, &format!("its layer {digest} cannot be unpacked ({error})")),
        }
    }
}

/// The candidate at the required path, at the first preferred one, or the only one.
fn select<'a>(reference: &Reference, path: &ModulePath, candidates: &'a [Candidate]) -> Result<&'a Candidate, Error> {
    let at =
        |path: &String| normalized(path).and_then(|path| candidates.iter().find(|candidate| candidate.path == path));
    if let Some(required) = &path.required {
        return at(required).ok_or_else(|| {
            let others = listed(candidates.iter().map(|candidate| format!("{:?}", candidate.path))).join(", ");
            let others = if others.is_empty() { "no *.wasm".into() } else { others };
            unsupported(reference, &format!("its layer has no file {required:?}, but {others}"))
        });
    }
    if let Some(candidate) = path.preferred.iter().find_map(at) {
        return Ok(candidate);
    }
    match candidates {
        [] => Err(unsupported(reference, "its layer has no file *.wasm")),
        [candidate] => Ok(candidate),
        several => Err(ambiguous(reference, several.iter().map(|candidate| candidate.path.clone()))),
    }
}

fn refuse_link(reference: &Reference, candidate: &Candidate) -> Result<(), Error> {
    if candidate.is_file {
        return Ok(());
    }
    Err(unsupported(reference, &format!("{:?} in its layer is a link", candidate.path)))
}

/// A path without empty components and `.`; `None` for one that is empty or has `..`.
fn normalized(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// The file of the module, hashed as it is written.
struct Output {
    file: File,
    hasher: BlobHasher,
    /// Why the disk failed: an error of the archive is another one.
    failure: Option<io::Error>,
}

impl Output {
    fn to(file: File) -> Self {
        Self { file, hasher: BlobHasher::default(), failure: None }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.file.write_all(bytes).and_then(|()| self.hasher.write_all(bytes)) {
            self.failure = Some(error);
            return Err(io::Error::other("the disk takes no more"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
}

/// A reader that fails at its limit, and when it is cancelled.
struct Limited {
    reader: Box<dyn Read>,
    remaining: u64,
    cancelled: CancellationToken,
}

/// An archive is larger, decompressed, than its limit.
#[derive(Debug, thiserror::Error)]
#[error("it is too large")]
struct TooLarge;

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
