//! What the proxy says of its work: events, metrics, status messages, readiness.
//!
//! It must never decide anything.

pub mod events;
pub mod readiness;
pub mod status;
