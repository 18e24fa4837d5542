//! Pulling from OCI registries and pushing to them (OCI distribution specification, "Pull" and "Push").
//!
//! | step of a request                                     | where             |
//! |-------------------------------------------------------|-------------------|
//! | URL, method, headers, range                           | `manifests`, `blobs`, `push` |
//! | endpoint (mirrors, then the origin), retries, counting | `request` (`first`) |
//! | authorization, and the answer to a challenge          | `request` (`send`), `challenge` |
//! | redirects, egress rules, timeouts                     | `transport`, `resolver` |
//! | status, body within size and rate                     | `response`        |
//!
//! It knows HTTP, credentials and the egress policy. It must never know which layer of a manifest is the module.

mod authorizations;
mod blobs;
mod bounds;
mod call;
mod challenge;
mod check;
mod client;
mod contact;
mod credentials;
mod docker;
mod endpoint;
mod failure;
mod manifests;
mod progress;
mod proxies;
mod push;
mod repository;
mod request;
mod resolver;
mod response;
mod retry;
mod transport;
mod upload;

pub use self::client::Registry;
pub use self::contact::Contact;
pub(crate) use self::docker::DockerConfig;
pub use self::progress::Progress;
pub use self::repository::Repository;
