//! The one error of the crate: what failed, at which object, on whose side, and what to do about it.
//!
//! It knows the codes, messages and hints of `docs/errors.md`. It must never know what raises it, and imports no other
//! part of this crate.

mod cause;
mod codes;
mod hint;
mod text;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::cause::cause;
pub use self::cause::causes;
pub use self::text::{escaped, is_obeyed, printable, shortened};

/// Why a module was not delivered.
///
/// `Display` gives one line; [`Error::hint`] says what to do, where there is something to do. No variant holds a
/// credential.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message on a request topic is no request.
    #[error("request is not valid: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// This proxy does not serve the channel of the request.
    #[error("this proxy does not serve channel {channel:?} of domain {domain:?}")]
    NotServed {
        /// The domain.
        domain: String,
        /// The channel.
        channel: String,
    },
    /// The requested name is not an OCI reference.
    #[error("{app_name:?} is not a reference to a module: {reason}")]
    BadReference {
        /// The name as the device gave it.
        app_name: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The policy denies the request this object.
    #[error("{object} is not permitted: {reason}")]
    Denied {
        /// The reference or address that is denied.
        object: String,
        /// The reason.
        reason: String,
        /// The rule that denies it.
        refusal: Refusal,
    },
    /// A bound is reached: the proxy accepts no more of these.
    #[error("{app_name} was turned away: {limit} {what}")]
    Overloaded {
        /// The requested name.
        app_name: String,
        /// The bound.
        limit: usize,
        /// What it bounds.
        what: &'static str,
    },
    /// The channel's budget of repeated bytes is used up.
    #[error("{app_name} was turned away: its channel gets no more than {limit} repeated bytes in 6 min")]
    OverBudget {
        /// The requested name.
        app_name: String,
        /// The bound, bytes.
        limit: u64,
    },
    /// The request is so old that its device has given up.
    #[error("{app_name} was asked for too long ago: {reason}")]
    TooLate {
        /// The requested name.
        app_name: String,
        /// Why it was not served in time.
        reason: &'static str,
    },
    /// Devices may hold chunks of other versions, and no `total_chunks` is free for this one.
    #[error("{app_name} has moved too often: every number of chunks was used for another version within 7 min")]
    TagMoves {
        /// The requested name.
        app_name: String,
    },
    /// A replica does not receive its own status messages, so it cannot know which transfers the others have claimed.
    #[error("{app_name} was not sent: the status topic is not heard, by which replicas agree on who sends it")]
    Unheard {
        /// The requested name.
        app_name: String,
    },
    /// The registry has no such repository, tag or digest.
    #[error("{reference} is unknown to the registry{detail}")]
    UnknownImage {
        /// The requested reference.
        reference: String,
        /// The detail, from the registry or from this proxy, preceded by a colon; or nothing.
        detail: Detail,
    },
    /// The registry or its token service rejected the credentials, or requires some.
    #[error("the registry refuses {reference}{detail}")]
    Unauthorized {
        /// The requested reference.
        reference: String,
        /// The detail, from the registry or from this proxy, preceded by a colon; or nothing.
        detail: Detail,
    },
    /// The credentials for a registry cannot be read.
    #[error("no credentials: {object} {detail}")]
    Credentials {
        /// The docker configuration file or the credential helper.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It is not in the store, and the pull policy forbids to fetch it.
    #[error("{object} is not in the store, and no registry is to be asked")]
    NotCached {
        /// The tag or digest.
        object: String,
    },
    /// The manifest has no signature.
    #[error("{reference} is not signed")]
    Unsigned {
        /// The requested reference.
        reference: String,
    },
    /// The manifest has signatures, but none of its digest by a configured key.
    #[error("{reference} is signed by none of the configured keys")]
    BadSignature {
        /// The requested reference.
        reference: String,
    },
    /// The registry sent no complete response.
    #[error("no complete answer from {object}: {detail}")]
    RegistryUnreachable {
        /// The URL without its query.
        object: String,
        /// What failed.
        detail: String,
    },
    /// The registry's response is not one that the distribution specification permits here.
    #[error("unusable answer from {object}: {detail}")]
    RegistryAnswer {
        /// The URL without its query.
        object: String,
        /// The response.
        detail: String,
    },
    /// The manifest has no layer that this proxy can deliver as a module.
    #[error("{reference} holds no module that can be delivered: {reason}")]
    Unsupported {
        /// The requested reference.
        reference: String,
        /// What it has instead.
        reason: String,
    },
    /// Several manifests, layers or files may be the module.
    #[error("{reference} has several that may be the module: {}", candidates.join(", "))]
    Ambiguous {
        /// The requested reference.
        reference: String,
        /// Platforms, titles or paths of the candidates.
        candidates: Vec<String>,
    },
    /// A response or a module exceeds its bound.
    #[error("{object} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        object: String,
        /// The bound, bytes.
        limit: u64,
    },
    /// The number of bytes differs from the descriptor's size.
    #[error("{object} has {actual} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// The digest of the blob.
        object: String,
        /// The descriptor's size, bytes.
        expected: u64,
        /// The bytes that were received before the end or the limit.
        actual: u64,
    },
    /// The bytes do not have the requested digest.
    #[error("{object} was asked for, but what came is {actual}")]
    DigestMismatch {
        /// The requested digest.
        object: String,
        /// The digest of the received bytes.
        actual: String,
    },
    /// The bytes match their descriptor, but are no WebAssembly binary.
    #[error("{object} is not a WebAssembly binary: it starts with {start}")]
    NotWasm {
        /// The digest of the blob.
        object: String,
        /// Its first bytes in hexadecimal.
        start: String,
    },
    /// A file could not be written or read.
    #[error("disk error at {object}: {source}")]
    Disk {
        /// The folder or file.
        object: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// No connection to the broker could be made, and it is not tried again.
    #[error("no connection to broker {object}{detail}")]
    BrokerUnreachable {
        /// The broker's address.
        object: String,
        /// The time that it took, or what failed, as the end of the sentence.
        detail: String,
    },
    /// The broker refused the connection (CONNACK) or a subscription (SUBACK).
    #[error("broker {object} refused: {detail}")]
    BrokerRefused {
        /// The broker's address.
        object: String,
        /// The return code in the words of the MQTT specification.
        detail: String,
    },
    /// The broker's certificate is not trusted, or the broker does not trust ours.
    #[error("no trust between this proxy and broker {object}: {detail}")]
    BrokerUntrusted {
        /// The broker's address.
        object: String,
        /// Which certificate, and what is wrong with it.
        detail: String,
    },
    /// A client of this proxy (TLS, HTTP, MQTT) could not be set up.
    #[error("{object} cannot be set up: {detail}")]
    Setup {
        /// The client.
        object: String,
        /// What is missing or wrong.
        detail: String,
    },
    /// The proxy is stopping.
    #[error("{app_name} was not finished: the proxy is stopping")]
    Stopping {
        /// The requested name.
        app_name: String,
    },
    /// The request came from this process, which has cancelled it.
    #[error("{app_name} was not finished: it was withdrawn")]
    Withdrawn {
        /// The requested name.
        app_name: String,
    },
    /// Another replica has claimed the transfer; its outcome is not known here.
    #[error("{app_name} was left to another replica, which had begun to send it")]
    GivenWay {
        /// The requested name.
        app_name: String,
    },
    /// A device's task ended before the module was complete.
    #[error("{app_name} did not arrive within {} s: {chunks} chunks came{}", waited.as_secs_f64(), of(*total_chunks))]
    Timeout {
        /// The requested name.
        app_name: String,
        /// How long it waited.
        waited: Duration,
        /// The chunks that it received.
        chunks: u64,
        /// All chunks; 0 if it received none.
        total_chunks: u64,
    },
    /// No proxy published a status for the request.
    #[error("{app_name} was asked for, and no proxy has told within {} s that it will send it", waited.as_secs_f64())]
    Unanswered {
        /// The requested name.
        app_name: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// A strict request did not receive one copy of each chunk in order.
    #[error("{app_name} did not arrive regularly: {reason}")]
    Irregular {
        /// The requested name.
        app_name: String,
        /// What it received.
        reason: String,
    },
    /// A proxy published that it is not going to deliver.
    #[error("{message}")]
    Reported {
        /// The class of the proxy's code, if this version knows it.
        class: Option<Class>,
        /// The proxy's message.
        message: String,
    },
}

/// The end of the sentence: the number of all chunks, if it is known.
fn of(total_chunks: u64) -> String {
    if total_chunks == 0 { String::new() } else { format!(" of {total_chunks}") }
}

/// The rule that denied a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No request may name this repository.
    Registry,
    /// The host is not on the allow-list, and its address is not public.
    Address,
    /// The token service does not belong to the registry.
    TokenService,
    /// A redirect leads from https to http.
    Downgrade,
}

/// What all errors of one code have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The code.
    pub code: &'static str,
    /// The stage of a delivery at which they occur: parsing the `request`; `resolve` the reference to a module; `fetch`
    /// it into the store and verify it; `publish` the chunks; `connect`, which includes setting up.
    pub stage: &'static str,
    /// The side on which they occur: the device and its `request`, the `registry` or its token service, the MQTT
    /// `broker`, or the `proxy` and its machine.
    pub side: &'static str,
    /// Whether a retry, with nothing changed, may succeed.
    pub retryable: bool,
}

impl Error {
    /// There was no connection to the broker within `waited`.
    #[must_use]
    pub fn no_broker_within(address: &impl fmt::Display, waited: Duration) -> Self {
        let detail = format!(" within {} s", waited.as_secs_f64());
        Self::BrokerUnreachable { object: address.to_string(), detail }
    }

    /// The connection to the broker failed, and it is not tried again.
    pub(crate) fn no_broker(address: &impl fmt::Display, reason: &impl fmt::Display) -> Self {
        Self::BrokerUnreachable { object: address.to_string(), detail: format!(": {reason}") }
    }

    /// An error of the disk at `folder`.
    pub(crate) fn disk(folder: &Path, source: io::Error) -> Self {
        Self::Disk { object: folder.display().to_string(), source: Arc::new(source) }
    }

    /// Whether a block of a stored blob is not what was verified.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::InvalidData)
    }

    /// Whether another process uses the folder.
    pub(crate) fn is_of_busy_folder(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
    }
}

/// The registry's error message: one line, printable, at most [`Detail::MAX_CHARS`] characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Longest text of a registry that is repeated, characters.
    #[doc(alias = "bound")]
    pub const MAX_CHARS: usize = 200;

    /// The printable part of `message`.
    #[must_use]
    pub fn new(message: &str) -> Self {
        Self(printable(message, Self::MAX_CHARS).trim().to_owned())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}
