//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Open files and sockets of the daemon, unless the system permits less.
#[doc(alias = "bound")]
const MAX_OPEN_FILES: u64 = 65_536;

/// Raises the soft limit to the hard one: 1,024, which is usual, is for programs that call select(2).
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    if current.is_none_or(|current| current >= limit) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum }) {
        warn!(%error, limit, "the limit of open files was not raised");
    }
}
