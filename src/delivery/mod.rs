//! Delivering verified modules: which chunk is next, and its way to the broker.
//!
//! `rules` decide, and know neither sockets nor clocks; `sender` does what they decide. It must never know where a module
//! comes from.

mod buffers;
mod options;
pub mod plan;
pub(crate) mod rules;
pub(crate) mod sender;

pub use self::options::DeliveryOptions;

/// Modules that are open at once, to be sent; further transfers wait. Each holds a file, of which a process often may
/// have no more than 1,024.
#[doc(alias = "bound")]
pub const MAX_OPEN_MODULES: usize = 256;
