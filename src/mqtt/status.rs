//! The payloads of the status and presence topics.

use serde::{Deserialize, Serialize};

use crate::error::{Class, Error};
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::json;

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits to be fetched.
    Queued,
    /// Its reference is resolved and its module fetched.
    Fetching,
    /// Its chunks are being published.
    Sending,
    /// Every request is covered.
    Sent,
    /// It is not going to be delivered.
    Failed,
    /// Another replica knows a version of the app that has as many chunks as one that is claimed. This is no outcome.
    Objected,
}

/// The message on the status topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The `app_name` of the request; empty if it could not be parsed.
    pub app_name: String,
    /// The state of its delivery.
    pub state: DeliveryState,
    /// The digest of the module, once it is known.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The largest chunk, bytes.
    pub chunk_size: Option<u32>,
    /// The number of chunks.
    pub total_chunks: Option<u64>,
    /// Chunks that the broker acknowledged.
    pub sent_chunks: u64,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The instance id of the proxy.
    pub instance: String,
    /// The time, in UTC (RFC 3339).
    pub time: String,
}

impl Status {
    /// Why it failed, as [`Error::Reported`]; `None` if it did not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let Failure { code, message } = self.error.as_ref().filter(|_| self.state == DeliveryState::Failed)?;
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
    /// Whether the proxy is online.
    pub online: bool,
    /// Its version.
    pub version: String,
    /// When it came online, in UTC (RFC 3339).
    pub since: String,
    /// The group of replicas that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Presence {
    /// The message of this proxy, as JSON.
    #[must_use]
    pub fn message(online: bool, since: Time, group: Option<String>) -> Vec<u8> {
        json(&Self { online, version: env!("CARGO_PKG_VERSION").into(), since: since.to_string(), group })
    }
}
