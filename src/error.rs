//! The one error of a delivery: what happened, to which object, on whose side, and what to do.

use std::fmt;
use std::io;

/// Why a module was not delivered.
///
/// `Display` gives one line; [`Error::hint`] says what to do about it where there is something to do. No variant ever
/// holds a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message on a request topic is not a request.
    #[error("request is not valid: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
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
        /// The rule that refuses it.
        reason: String,
    },
    /// More requests are waiting than [`crate::delivery::MAX_TRANSFERS`].
    #[error("{app_name} was turned away: {limit} transfers are already open")]
    Overloaded {
        /// The requested name.
        app_name: String,
        /// The number of transfers that may be open at once.
        limit: usize,
    },
    /// The registry has no such repository, tag or digest.
    #[error("{reference} is unknown to the registry{detail}")]
    UnknownImage {
        /// The reference asked for.
        reference: String,
        /// The registry's own words, preceded by a colon, or nothing.
        detail: Detail,
    },
    /// The registry or its token service refused the credentials, or wants some.
    #[error("{reference} is refused to these credentials{detail}")]
    Unauthorized {
        /// The reference asked for.
        reference: String,
        /// The registry's own words, preceded by a colon, or nothing.
        detail: Detail,
    },
    /// No answer came from the registry.
    #[error("{object} did not answer: {detail}")]
    RegistryUnreachable {
        /// The URL without its query.
        object: String,
        /// What broke.
        detail: String,
    },
    /// The registry answered something that the distribution specification does not allow here.
    #[error("{object} answered unusably: {detail}")]
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
    /// Several layers may be the module.
    #[error("{reference} has {} layers that may be the module: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// The reference asked for.
        reference: String,
        /// Media type and digest of each candidate.
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
    #[error("{object} arrived as {actual}")]
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
    /// The spool could not be written or read.
    #[error("spool in {object} failed: {source}")]
    Disk {
        /// The folder or file.
        object: String,
        /// What the system says.
        source: io::Error,
    },
    /// The broker refused the connection or a subscription.
    #[error("broker {object} refused: {detail}")]
    BrokerRefused {
        /// The broker's address.
        object: String,
        /// The refusal in the words of the MQTT specification.
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
}

/// Where in a delivery an error arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the request and its reference.
    Request,
    /// Finding the module behind the reference.
    Resolve,
    /// Bringing its bytes to the spool and checking them.
    Fetch,
    /// Publishing its chunks.
    Publish,
    /// Setting up or connecting.
    Connect,
}

/// Whose side an error is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The device that asked.
    Request,
    /// The registry or its token service.
    Registry,
    /// The MQTT broker.
    Broker,
    /// This machine.
    Local,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Publish => "publish",
            Self::Connect => "connect",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Registry => "registry",
            Self::Broker => "broker",
            Self::Local => "proxy",
        })
    }
}

impl Error {
    /// A stable name for programs, listed in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::BadReference { .. } => "bad-reference",
            Self::Denied { .. } => "denied",
            Self::Overloaded { .. } => "overloaded",
            Self::UnknownImage { .. } => "unknown-image",
            Self::Unauthorized { .. } => "unauthorized",
            Self::RegistryUnreachable { .. } => "registry-unreachable",
            Self::RegistryAnswer { .. } => "registry-answer",
            Self::Unsupported { .. } => "unsupported",
            Self::Ambiguous { .. } => "ambiguous",
            Self::TooLarge { .. } => "too-large",
            Self::SizeMismatch { .. } => "size-mismatch",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::NotWasm { .. } => "not-wasm",
            Self::Disk { .. } => "disk",
            Self::BrokerRefused { .. } => "broker-refused",
            Self::Setup { .. } => "setup",
            Self::Stopping { .. } => "stopping",
        }
    }

    /// Every code there is, in the order of the documentation.
    pub const CODES: &[&str] = &[
        "bad-request",
        "bad-reference",
        "denied",
        "overloaded",
        "unknown-image",
        "unauthorized",
        "registry-unreachable",
        "registry-answer",
        "unsupported",
        "ambiguous",
        "too-large",
        "size-mismatch",
        "digest-mismatch",
        "not-wasm",
        "disk",
        "broker-refused",
        "setup",
        "stopping",
    ];

    /// Where in the delivery it arose.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::BadRequest { .. } | Self::BadReference { .. } | Self::Denied { .. } | Self::Overloaded { .. } => {
                Stage::Request
            }
            Self::UnknownImage { .. }
            | Self::Unauthorized { .. }
            | Self::Unsupported { .. }
            | Self::Ambiguous { .. } => Stage::Resolve,
            Self::RegistryUnreachable { .. }
            | Self::RegistryAnswer { .. }
            | Self::TooLarge { .. }
            | Self::SizeMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::NotWasm { .. }
            | Self::Disk { .. } => Stage::Fetch,
            Self::Stopping { .. } => Stage::Publish,
            Self::BrokerRefused { .. } | Self::Setup { .. } => Stage::Connect,
        }
    }

    /// Whose side it is on.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::BadRequest { .. } | Self::BadReference { .. } | Self::Denied { .. } => Side::Request,
            Self::UnknownImage { .. }
            | Self::Unauthorized { .. }
            | Self::RegistryUnreachable { .. }
            | Self::RegistryAnswer { .. }
            | Self::Unsupported { .. }
            | Self::Ambiguous { .. }
            | Self::TooLarge { .. }
            | Self::SizeMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::NotWasm { .. } => Side::Registry,
            Self::BrokerRefused { .. } => Side::Broker,
            Self::Overloaded { .. } | Self::Disk { .. } | Self::Setup { .. } | Self::Stopping { .. } => Side::Local,
        }
    }

    /// Whether asking again later, with nothing changed, may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::RegistryUnreachable { .. }
                | Self::RegistryAnswer { .. }
                | Self::SizeMismatch { .. }
                | Self::DigestMismatch { .. }
                | Self::Disk { .. }
                | Self::Stopping { .. }
        )
    }

    /// What the reader of the message can do, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::BadRequest { .. } => r#"a request is the JSON object {"app_name": "<OCI reference>"}"#,
            Self::BadReference { .. } => "a reference is [host[:port]/]repository[:tag][@sha256:digest]",
            Self::Denied { .. } => "requests reach the registry of PROXY_REGISTRY_URL only",
            Self::Overloaded { .. } => "ask again when some transfers are done",
            Self::UnknownImage { .. } => {
                "check the repository and the tag; some registries also say this for private ones"
            }
            Self::Unauthorized { .. } => {
                "set PROXY_AUTHENTICATE=true and PROXY_REGISTRY_USERNAME with PROXY_REGISTRY_PASSWORD, or PROXY_REGISTRY_TOKEN"
            }
            Self::RegistryUnreachable { .. } => {
                "check PROXY_REGISTRY_URL, and http:// before it if the registry has no TLS"
            }
            Self::Ambiguous { .. } => "push the module as the only layer",
            Self::SizeMismatch { .. } | Self::DigestMismatch { .. } => {
                "the registry's copy is damaged or was tampered with"
            }
            Self::NotWasm { .. } => "push the output of the compiler, not an archive or source",
            Self::Disk { .. } => "check the free space and permissions of the folder; TMPDIR moves it",
            Self::BrokerRefused { .. } => {
                "check PROXY_CLIENT_ID and PROXY_CLIENT_KEY, and what the broker permits them on this channel"
            }
            Self::RegistryAnswer { .. }
            | Self::Unsupported { .. }
            | Self::TooLarge { .. }
            | Self::Setup { .. }
            | Self::Stopping { .. } => return None,
        })
    }
}

/// A registry's own words about a refusal: one line, printable, at most [`Detail::MAX_CHARS`] characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Longest text that is repeated from a registry, characters.
    pub const MAX_CHARS: usize = 200;

    /// Keeps what can safely be printed of `words`.
    #[must_use]
    pub fn new(words: &str) -> Self {
        let printable = words.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self(printable.take(Self::MAX_CHARS).collect::<String>().trim().to_owned())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}
