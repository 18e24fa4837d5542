//! A stock proplet: the device's side of wire protocol 1.
//!
//! A [`Proplet`] publishes requests and assembles chunks by the rules of stock devices ([`Assemblies`]). It knows the
//! topics and payloads of [`crate::mqtt`], and digests and the Wasm preamble of [`crate::oci`]. It must never know the
//! service, the registry or the rules of delivery: what they do is measured by it.

mod assembly;
mod proplet;
mod receiver;

pub use self::assembly::{ASSEMBLY_TTL, Assemblies, Reception, Tally};
pub use self::proplet::{Assembled, MAX_PACKET, Proplet, RequestOptions};
pub use self::receiver::{MAX_SEEN, SeenChunk};
