//! The payloads of the status and presence topics.

use serde::{Deserialize, Serialize};

use crate::error::{Class, Error};
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::json;

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its turn to be fetched.
    Queued,
    /// Its module is being found and fetched.
    Fetching,
    /// Its chunks are being published.
    Sending,
    /// Every request for it is covered.
    Sent,
    /// It will not be delivered.
    Failed,
}

/// The message on the status topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The module as the devices named it; empty where the request could not be read.
    pub app_name: String,
    /// Where its delivery is.
    pub state: State,
    /// The digest of the module, once it is known.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The size that no chunk exceeds, bytes.
    pub chunk_size: Option<u32>,
    /// The number of chunks.
    pub total_chunks: Option<u64>,
    /// Chunks that were published and acknowledged.
    pub sent_chunks: u64,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The proxy that tells.
    pub instance: String,
    /// When, in UTC (RFC 3339).
    pub time: String,
}

impl Status {
    /// Why it failed, as [`Error::Reported`]; nothing if it has not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let Failure { code, message } = self.error.as_ref().filter(|_| self.state == State::Failed)?;
        let class = Class::ALL.iter().find(|class| class.code == code).copied();
        Some(Error::Reported { class, message: message.clone() })
    }
}

/// Why a delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A code of `docs/errors.md`.
    pub code: String,
    /// One line for people.
    pub message: String,
}

/// The message on the presence topic, retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the proxy is there.
    pub online: bool,
    /// Its version.
    pub version: String,
    /// Since when it is, or was, there, in UTC (RFC 3339).
    pub since: String,
}

impl Presence {
    /// The message of this proxy, as JSON.
    #[must_use]
    pub fn message(online: bool, since: Time) -> Vec<u8> {
        json(&Self { online, version: env!("CARGO_PKG_VERSION").into(), since: since.to_string() })
    }
}
