//! What a store is made for.

use std::path::PathBuf;

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; else a temporary one will do where it cannot be used.
    pub named: bool,
    /// The disk space that it may take, bytes.
    pub limit: u64,
}
