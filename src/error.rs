//! The one error of a delivery: what happened, to which object, on whose side, and what to do.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    /// No connection to the broker came about in time, where somebody waits for it.
    #[error("no connection to broker {object} within {} s", waited.as_secs_f64())]
    BrokerUnreachable {
        /// The broker's address.
        object: String,
        /// How long it was waited for.
        waited: Duration,
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

/// Where in a delivery an error arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the request and its reference.
    Request,
    /// Finding the module behind the reference.
    Resolve,
    /// Bringing its bytes to the store and checking them.
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

/// What is the same for all errors of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The code.
    pub code: &'static str,
    /// Where such errors arise.
    pub stage: Stage,
    /// Whose side they are on.
    pub side: Side,
    /// Whether asking again later, with nothing changed, may succeed.
    pub retryable: bool,
}

macro_rules! classes {
    ($($variant:ident: $code:literal, $stage:ident, $side:ident, retryable: $retryable:literal;)*) => {
        impl Class {
            /// Every class there is, in the order of the documentation.
            pub const ALL: &[Self] = &[$(
                Self { code: $code, stage: Stage::$stage, side: Side::$side, retryable: $retryable },
            )*];
        }

        impl Error {
            /// Every code there is, in the order of the documentation.
            pub const CODES: &[&str] = &[$($code),*];

            fn class(&self) -> Class {
                match self {
                    Self::Reported { class: Some(class), .. } => *class,
                    $(Self::$variant { .. } => {
                        Class { code: $code, stage: Stage::$stage, side: Side::$side, retryable: $retryable }
                    })*
                }
            }
        }
    };
}

classes! {
    BadRequest: "bad-request", Request, Request, retryable: false;
    NotServed: "not-served", Request, Request, retryable: false;
    BadReference: "bad-reference", Request, Request, retryable: false;
    Denied: "denied", Request, Request, retryable: false;
    Overloaded: "overloaded", Request, Local, retryable: true;
    OverBudget: "over-budget", Request, Local, retryable: true;
    TooLate: "too-late", Request, Local, retryable: true;
    TagMoves: "tag-moves", Publish, Local, retryable: true;
    Unheard: "unheard", Publish, Broker, retryable: true;
    UnknownImage: "unknown-image", Resolve, Registry, retryable: false;
    Unauthorized: "unauthorized", Resolve, Registry, retryable: false;
    Credentials: "credentials", Resolve, Local, retryable: true;
    NotCached: "not-cached", Resolve, Local, retryable: false;
    Unsigned: "unsigned", Resolve, Registry, retryable: false;
    BadSignature: "bad-signature", Resolve, Registry, retryable: false;
    RegistryUnreachable: "registry-unreachable", Fetch, Registry, retryable: true;
    RegistryAnswer: "registry-answer", Fetch, Registry, retryable: true;
    Unsupported: "unsupported", Resolve, Registry, retryable: false;
    Ambiguous: "ambiguous", Resolve, Registry, retryable: false;
    TooLarge: "too-large", Fetch, Registry, retryable: false;
    SizeMismatch: "size-mismatch", Fetch, Registry, retryable: true;
    DigestMismatch: "digest-mismatch", Fetch, Registry, retryable: true;
    NotWasm: "not-wasm", Fetch, Registry, retryable: false;
    Disk: "disk", Fetch, Local, retryable: true;
    BrokerUnreachable: "broker-unreachable", Connect, Broker, retryable: true;
    BrokerRefused: "broker-refused", Connect, Broker, retryable: false;
    Setup: "setup", Connect, Local, retryable: false;
    Stopping: "stopping", Publish, Local, retryable: true;
    Withdrawn: "withdrawn", Publish, Local, retryable: true;
    GivenWay: "given-way", Publish, Local, retryable: true;
    Timeout: "timeout", Publish, Broker, retryable: true;
    Irregular: "irregular", Publish, Broker, retryable: true;
    Reported: "reported", Publish, Local, retryable: true;
}

impl Error {
    /// An error of the disk, with the folder it is about.
    pub(crate) fn disk(folder: &Path, source: io::Error) -> Self {
        Self::Disk { object: folder.display().to_string(), source: Arc::new(source) }
    }

    /// A stable name for programs, listed in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.class().code
    }

    /// Where in the delivery it arose.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.registry_led_there() { Stage::Fetch } else { self.class().stage }
    }

    /// Whose side it is on.
    #[must_use]
    pub fn side(&self) -> Side {
        if self.registry_led_there() { Side::Registry } else { self.class().side }
    }

    /// Whether it was the registry that led to what is not permitted, not the request.
    fn registry_led_there(&self) -> bool {
        matches!(self, Self::Denied { refusal: Refusal::TokenService | Refusal::Downgrade | Refusal::Address, .. })
    }

    /// Whether asking again later, with nothing changed, may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.class().retryable
    }

    /// What the reader of the message can do, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::BadRequest { .. } => r#"a request is the JSON object {"app_name": "<OCI reference>"}"#,
            Self::NotServed { .. } => "PROXY_DOMAIN_ID and PROXY_CHANNEL_ID name the channels that it serves",
            Self::BadReference { .. } => "a reference is [oci://][host[:port]/]repository[:tag][@sha256:digest][#path]",
            Self::Denied { refusal, .. } => match refusal {
                Refusal::Registry => "PROXY_REGISTRY_ALLOW lists what requests may name beside PROXY_REGISTRY_URL",
                Refusal::Address => "list its host and port in PROXY_REGISTRY_ALLOW if the proxy may reach it",
                Refusal::TokenService => {
                    "list the pair in PROXY_REGISTRY_TOKEN_SERVICES if this service is to be trusted"
                }
                Refusal::Downgrade => {
                    "only a registry that PROXY_REGISTRY_URL or PROXY_REGISTRY_ALLOW names with http:// may lead to http"
                }
            },
            Self::Overloaded { .. } => {
                "ask again when some transfers are done; PROXY_MAX_REQUESTS is the bound on requests"
            }
            Self::OverBudget { .. } => "ask again in a few minutes, or raise PROXY_MAX_REPEATS",
            Self::TooLate { .. } => "ask again: the proxy was away for longer than a device waits",
            Self::Unheard { .. } => {
                "let the proxy subscribe and publish to …/registry/status, or leave PROXY_SHARE_GROUP out"
            }
            Self::TagMoves { .. } => "ask again in a few minutes, or by digest",
            Self::UnknownImage { .. } => {
                "check the repository and the tag; some registries also say this for private ones"
            }
            Self::Unauthorized { .. } => {
                "set PROXY_AUTHENTICATE=true and PROXY_REGISTRY_USERNAME with PROXY_REGISTRY_PASSWORD, or PROXY_REGISTRY_AUTH_FILE"
            }
            Self::Credentials { .. } => {
                "check PROXY_REGISTRY_AUTH_FILE or DOCKER_CONFIG, and the helpers that it names"
            }
            Self::NotCached { .. } => "PROXY_PULL_POLICY=never serves only what was fetched before",
            Self::Unsigned { .. } => "sign it by cosign with the private key that belongs to PROXY_VERIFY_KEY",
            Self::BadSignature { .. } => "PROXY_VERIFY_KEY has the keys of which one must have signed this digest",
            Self::TooLarge { .. } => "PROXY_MAX_MODULE_SIZE bounds modules; manifests and tokens have fixed bounds",
            Self::RegistryUnreachable { .. } => {
                "check the host, PROXY_REGISTRY_CA_CERT if its authority is private, and http:// before it if it has no TLS"
            }
            Self::Ambiguous { .. } => {
                "name one: #title or #path after the reference, or a manifest of an index by its digest"
            }
            Self::SizeMismatch { .. } | Self::DigestMismatch { .. } => {
                "the registry's copy is damaged or was tampered with"
            }
            Self::NotWasm { .. } => "push the output of the compiler, not an archive or source",
            Self::Disk { .. } => {
                "check the free space and permissions of the folder; PROXY_CACHE_DIR and PROXY_STATE_DIR name others"
            }
            Self::BrokerUnreachable { .. } => "check that it runs, its address, and whether it wants TLS (mqtts://)",
            Self::BrokerRefused { .. } => {
                "check PROXY_CLIENT_ID and PROXY_CLIENT_KEY, and what the broker permits them on this channel"
            }
            Self::Timeout { total_chunks: 0, .. } => {
                "check that a proxy serves this channel, and that its broker and topic layout are the same"
            }
            Self::RegistryAnswer { .. }
            | Self::Unsupported { .. }
            | Self::Setup { .. }
            | Self::Stopping { .. }
            | Self::Withdrawn { .. }
            | Self::GivenWay { .. }
            | Self::Timeout { .. }
            | Self::Irregular { .. }
            | Self::Reported { .. } => return None,
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
        Self(printable(words, Self::MAX_CHARS).trim().to_owned())
    }
}

/// What a log can hold of a text from elsewhere: no control characters, and no more than so many characters.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}
