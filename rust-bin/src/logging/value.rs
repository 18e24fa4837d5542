//! What bounds the values of both formats.

/// Longest value of a line of the log, characters; of longer ones the middle is left out.
#[doc(alias = "bound")]
pub(super) const MAX_VALUE: usize = 1024;
