//! From a layer to the module in it: list the candidates, select one, copy it.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::ops::ControlFlow;

use tokio_util::sync::CancellationToken;

use super::entries::{Entry, visit_entries};
use super::format::{ArchiveFormat, BUFFER_SIZE, TooLarge};
use crate::error::Error;
use crate::oci::blob::Blob;
use crate::oci::digest::Hasher;
use crate::oci::reference::Reference;
use crate::oci::refusal::{ambiguous, listed, unsupported};
use crate::oci::wasm::has_wasm_extension;

/// Candidates in an archive that are kept; more than one is an error unless a path is given.
#[doc(alias = "bound")]
const MAX_CANDIDATES: usize = 64;

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
#[derive(Debug)]
struct Candidate {
    path: String,
    position: usize,
    is_file: bool,
}

impl ArchivedLayer {
    /// Writes the module to `file`. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Ambiguous`], [`Error::TooLarge`], and [`Error::Disk`] if `file` cannot be
    /// written.
    pub(crate) fn extract(&self, reference: &Reference, path: &ModulePath, file: File) -> Result<Blob, Error> {
        let candidates = self.list_candidates(path).map_err(|error| self.unreadable(reference, &error))?;
        let candidate = select(reference, path, &candidates)?;
        refuse_link(reference, candidate)?;
        self.copy(reference, candidate, Output::to(file))
    }

    /// The entries that may be the module, each path once: of two with one path the later one counts.
    fn list_candidates(&self, path: &ModulePath) -> io::Result<Vec<Candidate>> {
        let named: Vec<_> = path.required.iter().chain(&path.preferred).filter_map(|path| normalized(path)).collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        self.visit(|Entry { position, path, kind, .. }| {
            let Some(path) = normalized(path) else { return Ok(ControlFlow::Continue(())) };
            let is_named = named.contains(&path);
            // Whiteouts and the companions of macOS files are no modules.
            let is_hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            let is_file_or_link = kind.is_file() || kind.is_hard_link() || kind.is_symlink();
            if is_file_or_link && (is_named || has_wasm_extension(&path) && !is_hidden) {
                candidates.retain(|earlier| earlier.path != path);
                if candidates.len() < MAX_CANDIDATES || is_named {
                    candidates.push(Candidate { path, position, is_file: kind.is_file() });
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(candidates)
    }

    /// Writes the content of a candidate to `output`.
    fn copy(&self, reference: &Reference, candidate: &Candidate, mut output: Output) -> Result<Blob, Error> {
        let copied = self.visit(|Entry { position, content, .. }| {
            if position != candidate.position {
                return Ok(ControlFlow::Continue(()));
            }
            io::copy(&mut BufReader::with_capacity(BUFFER_SIZE, content), &mut output)?;
            Ok(ControlFlow::Break(()))
        });
        if let Some(failure) = output.failure {
            return Err(self.blob.unreadable(failure));
        }
        copied.map_err(|error| self.unreadable(reference, &error))?;
        Ok(Blob::verified(output.file, output.hasher.digest(), output.size))
    }

    fn visit(&self, visit: impl FnMut(Entry<'_>) -> io::Result<ControlFlow<()>>) -> io::Result<()> {
        visit_entries(self.format.reader(&self.blob, self.limit, self.cancelled.clone())?, visit)
    }

    fn unreadable(&self, reference: &Reference, error: &io::Error) -> Error {
        let digest = self.blob.digest();
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

/// The file of the module, hashed and counted as it is written.
struct Output {
    file: File,
    hasher: Hasher,
    size: u64,
    /// Why the disk failed: an error of the archive is another one.
    failure: Option<io::Error>,
}

impl Output {
    fn to(file: File) -> Self {
        Self { file, hasher: Hasher::default(), size: 0, failure: None }
    }
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
