//! What lies in the folder of a store.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the files of one kind (`blobs`, `tags`) in every scope of the store.
pub fn files(store: &Path, kind: &str) -> Vec<PathBuf> {
    entries(&store.join("v1")).iter().flat_map(|scope| entries(&scope.join(kind))).collect()
}

/// Returns what is in a folder; nothing is in a folder that is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}

/// Returns the file of a blob, if the store has it.
pub fn find(store: &Path, digest: &str) -> Option<PathBuf> {
    files(store, "blobs").into_iter().find(|file| format!("sha256:{}", name(file)) == digest)
}

/// Returns the name of a file.
pub fn name(file: &Path) -> &str {
    file.file_name().and_then(OsStr::to_str).expect("a name in UTF-8")
}
