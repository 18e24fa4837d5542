//! Taking a module out of a layer that is an archive: tar, plain or compressed by gzip or zstd.
//!
//! No path of an archive touches the file system: names are compared, and the bytes go to a file without a name.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType, PaxExtensions};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::oci::blob::Blob;
use crate::oci::digest::Hasher;
use crate::oci::manifest::{is_named_wasm, list, unsupported};
use crate::oci::reference::Reference;
use crate::oci::wasm::is_wasm;

/// Entries of an archive that are looked at.
const MAX_ENTRIES: usize = 1 << 16;
/// Largest header that holds a long name, bytes.
const MAX_NAME_HEADER: u64 = 64 << 10;
/// Candidates that are remembered; more than one is too many unless one is named.
const MAX_CANDIDATES: usize = 64;
/// Largest zstd window, as a power of two: 8 MiB, what RFC 8878 (section 3.1.1.1.2) wants every decoder to have.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that are read or written at once.
const BUFFER_SIZE: usize = 64 << 10;

/// How a layer is packed, by its first bytes: media types are often wrong about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Tar,
    Gzip,
    Zstd,
}

impl Packing {
    /// The packing of a blob; `None` if it is no archive.
    pub(crate) fn of(blob: &Blob) -> io::Result<Option<Self>> {
        /// Where a tar header says `ustar`.
        const MAGIC: std::ops::Range<usize> = 257..262;
        let mut start = Vec::new();
        blob.reader().take(MAGIC.end as u64).read_to_end(&mut start)?;
        Ok(match start.as_slice() {
            start if is_wasm(start) => None,
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or a skippable one before it (RFC 8878, section 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            start if start.get(MAGIC) == Some(b"ustar") => Some(Self::Tar),
            _ => None,
        })
    }
}

/// Which file of an archive is the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// It must be this one.
    pub(crate) path: Option<String>,
    /// The first of these that is there, before the only one called `*.wasm`.
    pub(crate) preferred: Vec<String>,
}

/// A layer to be unpacked.
pub(crate) struct Layer {
    pub(crate) blob: Blob,
    pub(crate) packing: Packing,
    /// Bytes that may come out of it.
    pub(crate) limit: u64,
    pub(crate) stop: CancellationToken,
}

/// An entry that may be the module.
#[derive(Debug)]
struct Candidate {
    path: String,
    /// Its position among the entries, from 0.
    position: usize,
    is_file: bool,
}

impl Layer {
    /// Writes the module to `file`. Blocks on the disk.
    pub(crate) fn unpack(&self, reference: &Reference, wanted: &Wanted, file: File) -> Result<Blob, Error> {
        let unreadable = |error: io::Error| match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(TooLarge) => {
                Error::TooLarge { object: format!("what {} unpacks to", self.blob.digest()), limit: self.limit }
            }
            None => unsupported(reference, &format!("its layer {} cannot be unpacked ({error})", self.blob.digest())),
        };
        let candidates = self.candidates(wanted).map_err(unreadable)?;
        let candidate = choose(reference, wanted, &candidates)?;
        if !candidate.is_file {
            return Err(unsupported(reference, &format!("{:?} in its layer is a link", candidate.path)));
        }
        let mut output = Output { file, hasher: Hasher::default(), size: 0, failure: None };
        let copied = self.each(|position, _, _, entry| {
            if position != candidate.position {
                return Ok(true);
            }
            io::copy(&mut BufReader::with_capacity(BUFFER_SIZE, entry), &mut output).map(|_| false)
        });
        if let Some(failure) = output.failure {
            return Err(self.blob.unreadable(failure));
        }
        copied.map_err(unreadable)?;
        Ok(Blob::verified(output.file, output.hasher.digest(), output.size))
    }

    /// The entries that may be the module, each path once: of two with one path the later one counts.
    fn candidates(&self, wanted: &Wanted) -> io::Result<Vec<Candidate>> {
        let named: Vec<_> = wanted.path.iter().chain(&wanted.preferred).filter_map(|path| clean(path)).collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        self.each(|position, path, kind, _| {
            let Some(path) = clean(path) else { return Ok(true) };
            // Whiteouts and the companions of macOS files are no modules.
            let hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            let wasm = is_named_wasm(&path) && !hidden;
            let relevant = kind.is_file() || kind.is_hard_link() || kind.is_symlink();
            if relevant && (named.contains(&path) || wasm) {
                candidates.retain(|earlier| earlier.path != path);
                if candidates.len() < MAX_CANDIDATES || named.contains(&path) {
                    candidates.push(Candidate { path, position, is_file: kind.is_file() });
                }
            }
            Ok(true)
        })?;
        Ok(candidates)
    }

    /// Gives `look` each entry's position, path and type, until it wants no more. Long names are read within a limit,
    /// which the library's own reading of them has not.
    fn each(&self, mut look: impl FnMut(usize, &str, EntryType, &mut dyn Read) -> io::Result<bool>) -> io::Result<()> {
        let mut long_name = None;
        let mut archive = Archive::new(self.reader()?);
        for (position, entry) in archive.entries()?.raw(true).enumerate() {
            if position == MAX_ENTRIES {
                return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            if kind.is_gnu_longname() {
                let name = name_header(&mut entry)?;
                long_name = Some(name.split(|byte| *byte == 0).next().unwrap_or_default().to_owned());
            } else if kind.is_pax_local_extensions() {
                let header = name_header(&mut entry)?;
                let extensions = PaxExtensions::new(&header).flatten();
                let path = extensions.filter(|extension| extension.key_bytes() == b"path").last();
                long_name = path.map(|path| path.value_bytes().to_owned()).or(long_name);
            } else if !kind.is_gnu_longlink() && !kind.is_pax_global_extensions() {
                let path = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                if !look(position, &String::from_utf8_lossy(&path), kind, &mut entry)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The archive, unpacked and within the limit.
    fn reader(&self) -> io::Result<Limited<Box<dyn Read>>> {
        let packed = BufReader::with_capacity(BUFFER_SIZE, self.blob.reader());
        let reader: Box<dyn Read> = match self.packing {
            Packing::Tar => Box::new(packed),
            Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Limited { reader, left: self.limit, stop: self.stop.clone() })
    }
}

/// The candidate that is wanted.
fn choose<'a>(reference: &Reference, wanted: &Wanted, candidates: &'a [Candidate]) -> Result<&'a Candidate, Error> {
    let at = |path: &String| clean(path).and_then(|path| candidates.iter().find(|candidate| candidate.path == path));
    if let Some(path) = &wanted.path {
        return at(path).ok_or_else(|| {
            let there = list(candidates.iter().map(|candidate| format!("{:?}", candidate.path))).join(", ");
            let there = if there.is_empty() { "no *.wasm".into() } else { there };
            unsupported(reference, &format!("its layer has no file {path:?}, but {there}"))
        });
    }
    if let Some(candidate) = wanted.preferred.iter().find_map(at) {
        return Ok(candidate);
    }
    match candidates {
        [] => Err(unsupported(reference, "its layer has no file *.wasm")),
        [candidate] => Ok(candidate),
        several => {
            let candidates = list(several.iter().map(|candidate| candidate.path.clone()));
            Err(Error::Ambiguous { reference: reference.to_string(), candidates })
        }
    }
}

/// A path without what does not count in it; `None` for one that leads out of the archive or nowhere.
fn clean(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// The content of a header that holds a name.
fn name_header(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    entry.take(MAX_NAME_HEADER + 1).read_to_end(&mut header)?;
    if header.len() as u64 > MAX_NAME_HEADER {
        return Err(io::Error::other(format!("a name in it has more than {MAX_NAME_HEADER} bytes")));
    }
    Ok(header)
}

/// The module as it is written, hashed and counted on the way.
struct Output {
    file: File,
    hasher: Hasher,
    size: u64,
    /// Why the disk takes no more: not to be taken for a fault of the archive.
    failure: Option<io::Error>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.file.write_all(bytes).and_then(|()| self.hasher.write_all(bytes)) {
            self.failure = Some(error);
            return Err(io::Error::other("the disk takes no more"));
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that ends in an error at its limit, and when it is stopped.
struct Limited<R> {
    reader: R,
    left: u64,
    stop: CancellationToken,
}

/// More came out of an archive than may.
#[derive(Debug, thiserror::Error)]
#[error("it is too large")]
struct TooLarge;

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(TooLarge))?;
        Ok(read)
    }
}
