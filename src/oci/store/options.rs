//! The options of a store.

use std::path::PathBuf;

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; otherwise a temporary one replaces it where it cannot be used.
    pub is_named: bool,
    /// The disk space that it may occupy, bytes.
    pub limit: u64,
}
