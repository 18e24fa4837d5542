//! Whether the folders of a proxy can be used, found out without making them.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::{state, store};

/// Checks that a state can be kept in `folder`, or made below the nearest folder above it that is there: who checks may be
/// another user than who will run, and must not own what that one needs. A state that lies in it is not opened, since the
/// proxy that runs has it, but must be readable and writable.
///
/// # Errors
/// [`Error::Disk`] with what the system says. Blocks on the disk.
pub fn check_state(folder: &Path) -> Result<(), Error> {
    try_making_files(folder)?;
    try_opening(&folder.join(state::FILE), OpenOptions::new().read(true).write(true))
}

/// The same for a store.
///
/// # Errors
/// As [`check_state`].
pub fn check_store(folder: &Path) -> Result<(), Error> {
    let [root, ingest] = store::folders(folder);
    try_making_files(&root)?;
    try_making_files(&ingest)?;
    try_opening(&root.join(store::SALT), OpenOptions::new().read(true))
}

fn try_making_files(folder: &Path) -> Result<(), Error> {
    let nearest = folder.ancestors().find(|folder| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or(Path::new("."));
    let write = || {
        if !nearest.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        store::try_writing(nearest)
    };
    write().map_err(|source| Error::disk(folder, source))
}

fn try_opening(file: &Path, options: &OpenOptions) -> Result<(), Error> {
    match options.open(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::disk(file, source)),
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
            check_state(usable).and_then(|()| check_store(usable)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
        for unusable in [&*file, &file.join("below"), Path::new("/dev/null/store")] {
            for check in [check_state, check_store] {
                let error = check(unusable).unwrap_err().to_string();
                assert!(error.contains(&unusable.display().to_string()), "{error}");
            }
        }
        fs::create_dir_all(deep.join(state::FILE)).unwrap();
        assert_eq!(check_state(&deep).unwrap_err().code(), "disk", "a state that cannot be written");
        fs::create_dir_all(deep.join("v1")).unwrap();
        fs::write(deep.join("v1/ingest"), "").unwrap();
        assert_eq!(check_store(&deep).unwrap_err().code(), "disk", "no folder for what comes in");
    }
}
