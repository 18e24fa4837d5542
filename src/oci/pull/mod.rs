//! Pulling: from a reference to the verified module on disk, by way of the store; and pushing, the other way.
//!
//! [`Puller::pull`] is the path: resolve the tag to a manifest, select the layer, check the signatures, fetch the layer
//! once for all requests, and extract the module. It knows the pull policy and the order of these steps. It must never
//! know who requests a module, or what becomes of it.

mod context;
mod deadline;
mod document;
mod inspect;
mod layer;
mod module;
mod negative_cache;
mod puller;
mod push;
mod resolve;
mod select;
mod signatures;
mod single_flight;
#[cfg(all(test, feature = "embedded"))]
mod tests;

pub use self::document::Resolved;
pub use self::inspect::{Inspected, SignatureState};
pub use self::module::Pulled;
pub use self::puller::Puller;
