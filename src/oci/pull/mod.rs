//! Pulling: from a reference to the verified module on disk, by way of the store; and pushing, the other way.
//!
//! [`Puller::pull`] is the path: resolve the tag to a manifest, select the layer, check the signatures, fetch the layer
//! once for all requests, and extract the module. It knows the pull policy and the order of these steps. It must never
//! know who requests a module, or what becomes of it.

mod layer;
mod lookups;
mod module;
mod puller;
mod push;
mod resolve;
mod signatures;
#[cfg(all(test, feature = "embedded"))]
mod tests;
mod unpacked;

pub use self::module::{Inspected, Pulled, SignatureState};
pub use self::puller::Puller;
pub use self::resolve::Resolved;
