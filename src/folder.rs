//! Whether a folder of ours can be used, found out without making it.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::state;

/// Checks that files can be made in `folder`, or in the nearest folder above it that is there: who checks may be another
/// user than who will run, and must not own what that one needs. A state that lies in it is not opened, since the proxy that
/// runs has it, but must be readable and writable.
///
/// # Errors
/// [`Error::Disk`] with what the system says. Blocks on the disk.
pub fn check(folder: &Path) -> Result<(), Error> {
    try_writing(folder).map_err(|source| Error::disk(folder, source))
}

fn try_writing(folder: &Path) -> io::Result<()> {
    let nearest = folder.ancestors().find(|folder| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or(Path::new("."));
    if !nearest.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    tempfile::tempfile_in(nearest).and_then(|mut file| io::Write::write_all(&mut file, b"x"))?;
    match OpenOptions::new().read(true).write(true).open(folder.join(state::FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_can_be_made_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let [file, deep] = ["file", "a/b/c"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        for usable in [folder.path(), &deep] {
            check(usable).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
        for unusable in [&*file, &file.join("below"), Path::new("/dev/null/store")] {
            let error = check(unusable).unwrap_err().to_string();
            assert!(error.contains(&unusable.display().to_string()), "{error}");
        }
        fs::create_dir_all(deep.join(state::FILE)).unwrap();
        assert_eq!(check(&deep).unwrap_err().code(), "disk", "a state that cannot be written");
    }
}
