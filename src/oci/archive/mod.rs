//! Extracting the module from a layer that is an archive: tar, plain or compressed by gzip or zstd.
//!
//! It knows archives and which of their files is the module. It must never use a path of an archive as one of the file
//! system: paths are compared only, and the module is written to a file without a name.

mod entries;
mod extract;
mod format;

pub(crate) use self::extract::{ArchivedLayer, ModulePath};
pub(crate) use self::format::ArchiveFormat;
