//! WebAssembly binaries: their preamble and file extension.

use std::path::Path;

use crate::error::Error;
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;

/// The first bytes of a core module (WebAssembly specification 5.5.16: magic and version 1).
pub const MODULE_PREAMBLE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The first bytes of a component (component model binary format: version 13, layer 1).
pub const COMPONENT_PREAMBLE: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// Bytes of either.
pub const PREAMBLE_SIZE: usize = 8;

/// What a WebAssembly binary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

impl Kind {
    /// What begins with `start`, if that is WebAssembly.
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&MODULE_PREAMBLE) {
            Some(Self::Module)
        } else {
            start.starts_with(&COMPONENT_PREAMBLE).then_some(Self::Component)
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Module => "core module",
            Self::Component => "component",
        }
    }
}

/// Whether `start` begins a core module or a component.
#[must_use]
pub fn is_wasm(start: &[u8]) -> bool {
    Kind::of(start).is_some()
}

/// Whether a path or title ends in `.wasm`.
pub(crate) fn has_wasm_extension(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"))
}

/// Checks that a blob is a WebAssembly binary.
///
/// # Errors
/// [`Error::NotWasm`] if it starts otherwise, [`Error::Disk`] if it cannot be read.
pub fn check(blob: &Blob) -> Result<(), Error> {
    check_start(blob.digest(), &start_of(blob)?).map(drop)
}

/// The first bytes of a blob, [`PREAMBLE_SIZE`] if it has so many.
///
/// # Errors
/// [`Error::Disk`] if it cannot be read.
pub fn start_of(blob: &Blob) -> Result<Vec<u8>, Error> {
    let mut start = vec![0; usize::try_from(blob.size()).unwrap_or(PREAMBLE_SIZE).min(PREAMBLE_SIZE)];
    blob.read_at(&mut start, 0).map_err(|source| blob.unreadable(source))?;
    Ok(start)
}

/// Checks that what begins with `start` and has this digest is a WebAssembly binary.
///
/// # Errors
/// [`Error::NotWasm`].
pub fn check_start(digest: Digest, start: &[u8]) -> Result<Kind, Error> {
    if let Some(kind) = Kind::of(start) {
        return Ok(kind);
    }
    let start = start.iter().take(PREAMBLE_SIZE).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let start = if start.is_empty() { "nothing".into() } else { start };
    Err(Error::NotWasm { object: digest.to_string(), start })
}
