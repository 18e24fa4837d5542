//! The faults that are injected into the embedded registry, and the requests that it had.

use std::collections::{HashMap, VecDeque};

use axum::http::StatusCode;
use tempfile::NamedTempFile;

use crate::oci::digest::Digest;

/// Faults and requests.
#[derive(Default)]
pub(super) struct Faults {
    /// The status of the next `times` responses.
    pub(super) status: StatusCode,
    pub(super) times: u32,
    /// Copies that are served in place of blobs.
    pub(super) tampered: HashMap<Digest, NamedTempFile>,
    /// The last requests, the oldest first.
    pub(super) requests: VecDeque<String>,
}
