//! Creating folders, checking that folders and files can be used, and reading small files.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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

/// Reads a file of at most `limit` bytes. What may have no end, or no writer, is refused: devices, pipes, sockets.
///
/// # Errors
/// What the system says, or why the file is refused.
pub fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // A pipe without a writer would block.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::other("not a regular file, so it may have no end"));
    }
    let mut bytes = Vec::new();
    // Files of /proc have more than their size says.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn small_files_are_read_and_what_may_have_no_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), b"1234").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let read = |name: &str, limit| read_small(&path(name), limit);
        assert_eq!(read("file", 4).unwrap(), b"1234");
        assert_eq!(read("link", 4).unwrap(), b"1234");
        assert_eq!(read("file", 3).unwrap_err().to_string(), "larger than 3 bytes");
        assert_eq!(read("none", 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(".", 4).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        for endless in ["pipe", "/dev/zero", "/dev/null"] {
            assert_eq!(read(endless, 4).unwrap_err().to_string(), "not a regular file, so it may have no end");
        }
        read("socket", 4).unwrap_err();
    }
}
