//! Pulling from OCI registries and pushing to them (OCI distribution specification, "Pull" and "Push").
//!
//! | step of a request                                     | where             |
//! |-------------------------------------------------------|-------------------|
//! | URL, method, headers, range                           | `pull`, `push`    |
//! | endpoint (mirrors, then the origin), retries, counting | `repository` (`first`) |
//! | a place at the host, unless it rests                  | `peer`            |
//! | authorization, and the answer to a challenge          | `client` (`send`), `challenge`, `offers` |
//! | redirects, egress rules, timeouts                     | `transport`, `resolver` |
//! | status, body within its size                     | `response`        |
//!
//! It knows HTTP, credentials and the egress policy. It must never know which layer of a manifest is the module.

pub(crate) mod call;
mod challenge;
mod client;
mod credentials;
pub(crate) mod docker;
mod endpoint;
pub(crate) mod failure;
pub(crate) mod offers;
mod peer;
mod pull;
mod push;
mod repository;
mod resolver;
mod response;
mod retry;
mod transport;
mod upload;

pub use self::client::Registry;
pub(crate) use self::docker::DockerConfig;
pub use self::pull::Progress;
pub(crate) use self::repository::Repository;
pub(crate) use self::transport::Contact;
