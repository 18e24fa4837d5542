//! What a state is made for.

use std::path::PathBuf;

/// Where is kept what must survive a restart.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the operator named it; else a temporary one will do where it cannot be used.
    pub is_named: bool,
}
