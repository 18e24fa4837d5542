//! The store: verified blobs by digest on disk, and the digests of tags as the registry confirmed them last.
//!
//! ```text
//! {folder}/v1/salt                     hides credentials in the names of scopes
//! {folder}/v1/ingest/                  downloads in progress; nothing here is ever read back
//! {folder}/v1/{scope}/blobs/{sha256}   manifests, configurations and layers
//! {folder}/v1/{scope}/tags/{sha256}    the digest of a tag, and when the registry confirmed it
//! ```
//!
//! A blob gets its name when all of it is written, checked and synced, so a crash at any moment leaves no wrong blob;
//! and it is hashed again when this process first reads it, or when its file has changed. What was fetched under some
//! credentials lies in a scope of its own, and is read under the same ones only. Any number of processes may share
//! a folder: they share nothing but files, which they replace by renaming and hold by shared locks while they are open.
//! Only regular files in folders count; links are not followed, and a folder that is removed meanwhile is made again.
//!
//! It knows files and digests. It must never know HTTP, or why a blob is needed.

mod folder;
mod hashed;
mod own;
mod partial;
mod quota;
mod scope;
mod spool;
#[cfg(test)]
mod tests;
mod written;

pub(crate) use self::folder::Store;
pub use self::folder::{StoreOptions, check};
pub(crate) use self::scope::{CachedTag, Scope};
pub(crate) use self::spool::Spool;
