//! The one error of a delivery: what happened, to which object, on whose side, and what to do.

mod cause;
mod class;
mod hint;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::cause::cause;
pub use self::cause::causes;
pub use self::class::{Class, Side, Stage};

/// Why a module was not delivered.
///
/// `Display` gives one line; [`Error::hint`] says what to do about it where there is something to do. No variant ever
/// holds a credential.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message on a request topic is not a request.
    #[error("request is not valid: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// It was asked for on a channel that is none of this proxy's.
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
    /// The policy does not let a request reach this object.
    #[error("{object} is not permitted: {reason}")]
    Denied {
        /// The reference or address that was refused.
        object: String,
        /// Why it is.
        reason: String,
        /// The rule that refuses it.
        refusal: Refusal,
    },
    /// More is asked for than the proxy may have open.
    #[error("{app_name} was turned away: {limit} {what}")]
    Overloaded {
        /// The requested name.
        app_name: String,
        /// The number that was reached.
        limit: usize,
        /// What there are so many of.
        what: &'static str,
    },
    /// The channel has got as many repeated bytes as it may.
    #[error("{app_name} was turned away: its channel gets no more than {limit} repeated bytes in 6 min")]
    OverBudget {
        /// The requested name.
        app_name: String,
        /// The bound, bytes.
        limit: u64,
    },
    /// The request is so old that no device waits for the answer.
    #[error("{app_name} was asked for too long ago: {reason}")]
    TooLate {
        /// The requested name.
        app_name: String,
        /// Why it was not served in time.
        reason: &'static str,
    },
    /// Devices may have chunks of other versions, and this one cannot be told from them.
    #[error("{app_name} has moved too often: every number of chunks was used for another version within 7 min")]
    TagMoves {
        /// The requested name.
        app_name: String,
    },
    /// A replica does not hear what it publishes on the status topic, and so cannot know what the others do.
    #[error("{app_name} was not sent: the status topic is not heard, by which replicas agree on who sends it")]
    Unheard {
        /// The requested name.
        app_name: String,
    },
    /// The registry has no such repository, tag or digest.
    #[error("{reference} is unknown to the registry{detail}")]
    UnknownImage {
        /// The reference asked for.
        reference: String,
        /// What the registry says, or we say of it, preceded by a colon; or nothing.
        detail: Detail,
    },
    /// The registry or its token service refused the credentials, or wants some.
    #[error("the registry refuses {reference}{detail}")]
    Unauthorized {
        /// The reference asked for.
        reference: String,
        /// What the registry says, or we say of it, preceded by a colon; or nothing.
        detail: Detail,
    },
    /// The credentials for a registry cannot be had.
    #[error("no credentials: {object} {detail}")]
    Credentials {
        /// The docker configuration file or the credential helper.
        object: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The store does not have it, and the registry is not to be asked.
    #[error("{object} is not in the store, and no registry is to be asked")]
    NotCached {
        /// The tag or digest.
        object: String,
    },
    /// Nobody has signed the manifest.
    #[error("{reference} is not signed")]
    Unsigned {
        /// The reference asked for.
        reference: String,
    },
    /// The manifest has signatures, but none that is about it and by a configured key.
    #[error("{reference} is signed by none of the configured keys")]
    BadSignature {
        /// The reference asked for.
        reference: String,
    },
    /// No answer came from the registry.
    #[error("no complete answer from {object}: {detail}")]
    RegistryUnreachable {
        /// The URL without its query.
        object: String,
        /// What broke.
        detail: String,
    },
    /// The registry answered something that the distribution specification does not allow here.
    #[error("unusable answer from {object}: {detail}")]
    RegistryAnswer {
        /// The URL without its query.
        object: String,
        /// What it answered.
        detail: String,
    },
    /// The manifest is of a kind that holds no module this proxy can take out.
    #[error("{reference} holds no module that can be delivered: {reason}")]
    Unsupported {
        /// The reference asked for.
        reference: String,
        /// What was found instead.
        reason: String,
    },
    /// Several manifests, layers or files may be the module.
    #[error("{reference} has several that may be the module: {}", candidates.join(", "))]
    Ambiguous {
        /// The reference asked for.
        reference: String,
        /// Platform, title or path of the candidates, as far as they are listed.
        candidates: Vec<String>,
    },
    /// An answer or a module is larger than its bound.
    #[error("{object} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        object: String,
        /// The bound, bytes.
        limit: u64,
    },
    /// The bytes that came are not as many as the descriptor says.
    #[error("{object} has {actual} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// The digest of the blob.
        object: String,
        /// The size its descriptor gives, bytes.
        expected: u64,
        /// The bytes that came before the end or the limit.
        actual: u64,
    },
    /// The bytes that came do not have the digest that was asked for.
    #[error("{object} was asked for, but what came is {actual}")]
    DigestMismatch {
        /// The digest that was asked for.
        object: String,
        /// The digest of the bytes that came.
        actual: String,
    },
    /// The bytes are what the registry vouches for, but not a WebAssembly binary.
    #[error("{object} is not a WebAssembly binary: it starts with {start}")]
    NotWasm {
        /// The digest of the blob.
        object: String,
        /// Its first bytes in hexadecimal.
        start: String,
    },
    /// The store could not be written or read.
    #[error("disk error at {object}: {source}")]
    Disk {
        /// The folder or file.
        object: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// No connection to the broker came about, where somebody waits for it.
    #[error("no connection to broker {object}{detail}")]
    BrokerUnreachable {
        /// The broker's address.
        object: String,
        /// How long it was waited for, or what broke, as the end of the sentence.
        detail: String,
    },
    /// The broker refused the connection or a subscription.
    #[error("broker {object} refused: {detail}")]
    BrokerRefused {
        /// The broker's address.
        object: String,
        /// The refusal in the words of the MQTT specification.
        detail: String,
    },
    /// The broker's certificate is not trusted, or the broker does not trust ours.
    #[error("no trust between this proxy and broker {object}: {detail}")]
    BrokerUntrusted {
        /// The broker's address.
        object: String,
        /// Whose certificate, and what is wrong with it.
        detail: String,
    },
    /// A client of our own (TLS, HTTP, MQTT) could not be set up.
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
    /// Who asked inside this process does not want it any more.
    #[error("{app_name} was not finished: it was withdrawn")]
    Withdrawn {
        /// The requested name.
        app_name: String,
    },
    /// Another replica sends it, which cannot tell us how that ends.
    #[error("{app_name} was left to another replica, which had begun to send it")]
    GivenWay {
        /// The requested name.
        app_name: String,
    },
    /// A device has waited for so long, and does not have it all.
    #[error("{app_name} did not arrive within {} s: {chunks} chunks came{}", waited.as_secs_f64(), of(*total_chunks))]
    Timeout {
        /// The requested name.
        app_name: String,
        /// How long it has waited.
        waited: Duration,
        /// The chunks that came.
        chunks: u64,
        /// All chunks; 0 if none came.
        total_chunks: u64,
    },
    /// No proxy told that it has taken a request.
    #[error("{app_name} was asked for, and no proxy has told within {} s that it will send it", waited.as_secs_f64())]
    Unanswered {
        /// The requested name.
        app_name: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// What a device heard is not one copy of each chunk in their order, which it was to insist on.
    #[error("{app_name} did not arrive regularly: {reason}")]
    Irregular {
        /// The requested name.
        app_name: String,
        /// What was heard.
        reason: String,
    },
    /// A proxy told a device that it will not deliver.
    #[error("{message}")]
    Reported {
        /// What the proxy's code means, if it is known here.
        class: Option<Class>,
        /// The proxy's message.
        message: String,
    },
}

/// Ends a sentence about chunks.
fn of(total_chunks: u64) -> String {
    if total_chunks == 0 { String::new() } else { format!(" of {total_chunks}") }
}

/// The rule by which something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Requests may not name this repository.
    Registry,
    /// The operator did not name this host, and it has no public address.
    Address,
    /// The registry and this token service are no known pair.
    TokenService,
    /// It leads from https to http.
    Downgrade,
}

impl Error {
    /// The broker did not take a connection within the time that somebody waits for it.
    #[must_use]
    pub fn no_broker_within(address: &impl fmt::Display, waited: Duration) -> Self {
        let detail = format!(" within {} s", waited.as_secs_f64());
        Self::BrokerUnreachable { object: address.to_string(), detail }
    }

    /// A connection to the broker failed, where it is not tried again.
    pub(crate) fn no_broker(address: &impl fmt::Display, reason: &impl fmt::Display) -> Self {
        Self::BrokerUnreachable { object: address.to_string(), detail: format!(": {reason}") }
    }

    /// An error of the disk, with the folder it is about.
    pub(crate) fn disk(folder: &Path, source: io::Error) -> Self {
        Self::Disk { object: folder.display().to_string(), source: Arc::new(source) }
    }
}

/// A registry's own words about a refusal: one line, printable, at most [`Detail::MAX_CHARS`] characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Longest text that is repeated from a registry, characters.
    #[doc(alias = "bound")]
    pub const MAX_CHARS: usize = 200;

    /// Keeps what can safely be printed of `words`.
    #[must_use]
    pub fn new(words: &str) -> Self {
        Self(printable(words, Self::MAX_CHARS).trim().to_owned())
    }
}

/// What a log or a terminal can hold of a text from elsewhere: no control characters, and no more than so many characters.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}
