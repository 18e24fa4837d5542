//! Creating folders, checking that folders and files can be used, and reading small files.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl};
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

/// Reads a file of at most `limit` bytes: a device without an end is too large, and a pipe without a writer is empty.
///
/// # Errors
/// What the system says; [`io::ErrorKind::FileTooLarge`] if there is more.
pub fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe without a writer would block otherwise.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // Whoever has a pipe open may still be writing.
    fcntl_setfl(&file, OFlags::empty())?;
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
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn small_files_are_read_and_what_has_no_end_is_refused() {
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
        assert_eq!(read("/dev/zero", 4).unwrap_err().to_string(), "larger than 4 bytes");
        assert_eq!(read("/dev/null", 4).unwrap(), b"");
        assert_eq!(read("pipe", 4).unwrap(), b"", "nobody writes");
        let mut writer =
            Command::new("sh").arg("-c").arg("sleep 0.1; printf 1234").stdout(Stdio::piped()).spawn().unwrap();
        let written = format!("/dev/fd/{}", writer.stdout.as_ref().unwrap().as_raw_fd());
        assert_eq!(read(&written, 4).unwrap(), b"1234");
        writer.wait().unwrap();
        read("socket", 4).unwrap_err();
    }
}
