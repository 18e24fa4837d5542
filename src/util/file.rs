//! Creating folders, and checking that folders and files can be used.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tempfile::TempDir;

use crate::error::Error;

/// A folder that is removed when it is dropped.
pub(crate) fn temporary_folder() -> Result<TempDir, Error> {
    let temporary = tempfile::Builder::new().prefix("propeller-proxy-").tempdir();
    temporary.map_err(|source| Error::disk(&std::env::temp_dir(), source))
}

pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes an unnamed file, which is removed at once.
pub(crate) fn try_writing(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(&[0; 512])
}

/// Checks that files can be created in `folder`, or in its nearest ancestor that exists, without creating it.
///
/// # Errors
/// [`Error::Disk`] with the system's error. Blocks on the disk.
pub(crate) fn try_making_files(folder: &Path) -> Result<(), Error> {
    let nearest = folder.ancestors().find(|folder| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or(Path::new("."));
    let write = || {
        if !nearest.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        try_writing(nearest)
    };
    write().map_err(|source| Error::disk(folder, source))
}

/// Checks that `file` can be opened, if it exists.
///
/// # Errors
/// As [`try_making_files`].
pub(crate) fn try_opening(file: &Path, options: &OpenOptions) -> Result<(), Error> {
    match options.open(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::disk(file, source)),
        _ => Ok(()),
    }
}
