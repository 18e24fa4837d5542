//! Opening what lies in the store's folder, and making folders there. No link below it is followed: what one leads to is
//! not the store's, and is neither read nor changed.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::util::file::make_folder;

/// Opens the regular file at `path` below `root`; `None` if there is none.
pub(super) fn open(root: &Path, path: &Path) -> io::Result<Option<File>> {
    for folder in folders(root, path).skip(1) {
        if !is_folder(folder)? {
            return Ok(None);
        }
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) => return absent(error).map(|()| None),
    }
    // It may be another one by now.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) => absent(error).map(|()| None),
    }
}

/// The first bytes of a file, `limit` at most.
pub(super) fn read(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes `folder` below `root`, and those above it, where they are missing; returns whether it was.
///
/// # Errors
/// [`io::ErrorKind::NotADirectory`] if one of them is a link or a file.
pub(super) fn make(root: &Path, folder: &Path) -> io::Result<bool> {
    root.parent().map_or(Ok(()), make_folder)?;
    let mut is_new = false;
    for folder in folders(root, folder).collect::<Vec<_>>().into_iter().rev() {
        is_new = match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            made => made.map(|()| true)?,
        };
        require(folder)?;
    }
    Ok(is_new)
}

/// Refuses a link, and whatever else is no folder.
pub(super) fn require(folder: &Path) -> io::Result<()> {
    if fs::symlink_metadata(folder)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// What is in `folder`; nothing, if it is a link or missing.
pub(super) fn list(folder: &Path) -> io::Result<Vec<DirEntry>> {
    if !is_folder(folder)? {
        return Ok(Vec::new());
    }
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) => absent(error).map(|()| Vec::new()),
    }
}

fn is_folder(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) => absent(error).map(|()| false),
    }
}

/// Passes over the error that something is missing.
fn absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
        _ => Err(error),
    }
}

/// `path`, and the folders above it up to `root`.
fn folders<'a>(root: &'a Path, path: &'a Path) -> impl Iterator<Item = &'a Path> {
    path.ancestors().take_while(move |folder| folder.starts_with(root))
}
