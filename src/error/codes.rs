//! The class of each error.

use super::{Class, Error, Refusal};

macro_rules! classes {
    ($(
        $($variant:ident)|+: $code:literal, stage: $stage:literal, side: $side:literal, retryable: $retryable:literal;
    )*) => {
        impl Class {
            /// Every class, in the order of `docs/errors.md`.
            pub const ALL: &[Self] = &[$(
                Self { code: $code, stage: $stage, side: $side, retryable: $retryable },
            )*];
        }

        impl Error {
            /// Every code, in the order of `docs/errors.md`.
            pub const CODES: &[&str] = &[$($code),*];

            fn class(&self) -> Class {
                match self {
                    Self::Reported { class: Some(class), .. } => *class,
                    $($(Self::$variant { .. })|+ => {
                        Class { code: $code, stage: $stage, side: $side, retryable: $retryable }
                    })*
                }
            }
        }
    };
}

classes! {
    BadRequest: "bad-request", stage: "request", side: "request", retryable: false;
    NotServed: "not-served", stage: "request", side: "request", retryable: false;
    BadReference: "bad-reference", stage: "request", side: "request", retryable: false;
    Denied: "denied", stage: "request", side: "request", retryable: false;
    Overloaded: "overloaded", stage: "request", side: "proxy", retryable: true;
    OverBudget: "over-budget", stage: "request", side: "proxy", retryable: true;
    TooLate: "too-late", stage: "request", side: "proxy", retryable: true;
    TagMoves: "tag-moves", stage: "publish", side: "proxy", retryable: true;
    Unheard: "unheard", stage: "publish", side: "broker", retryable: true;
    UnknownImage: "unknown-image", stage: "resolve", side: "registry", retryable: false;
    Unauthorized: "unauthorized", stage: "resolve", side: "registry", retryable: false;
    Credentials: "credentials", stage: "resolve", side: "proxy", retryable: true;
    NotCached: "not-cached", stage: "resolve", side: "proxy", retryable: false;
    Unsigned: "unsigned", stage: "resolve", side: "registry", retryable: false;
    BadSignature: "bad-signature", stage: "resolve", side: "registry", retryable: false;
    RegistryUnreachable: "registry-unreachable", stage: "fetch", side: "registry", retryable: true;
    RegistryAnswer: "registry-answer", stage: "fetch", side: "registry", retryable: true;
    Unsupported: "unsupported", stage: "resolve", side: "registry", retryable: false;
    Ambiguous: "ambiguous", stage: "resolve", side: "registry", retryable: false;
    TooLarge: "too-large", stage: "fetch", side: "registry", retryable: false;
    SizeMismatch: "size-mismatch", stage: "fetch", side: "registry", retryable: true;
    DigestMismatch: "digest-mismatch", stage: "fetch", side: "registry", retryable: true;
    NotWasm: "not-wasm", stage: "fetch", side: "registry", retryable: false;
    Disk: "disk", stage: "fetch", side: "proxy", retryable: true;
    BrokerUnreachable: "broker-unreachable", stage: "connect", side: "broker", retryable: true;
    BrokerRefused: "broker-refused", stage: "connect", side: "broker", retryable: false;
    BrokerUntrusted: "broker-untrusted", stage: "connect", side: "broker", retryable: false;
    Setup: "setup", stage: "connect", side: "proxy", retryable: false;
    Stopping: "stopping", stage: "publish", side: "proxy", retryable: true;
    Withdrawn: "withdrawn", stage: "publish", side: "proxy", retryable: true;
    GivenWay: "given-way", stage: "publish", side: "proxy", retryable: true;
    Timeout | Unanswered: "timeout", stage: "publish", side: "broker", retryable: true;
    Irregular: "irregular", stage: "publish", side: "broker", retryable: true;
    Reported: "reported", stage: "publish", side: "proxy", retryable: true;
}

impl Error {
    /// A stable name for programs, listed in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.class().code
    }

    /// The stage at which it occurred, as in [`Class::stage`].
    #[must_use]
    pub fn stage(&self) -> &'static str {
        if self.is_caused_by_registry() { "fetch" } else { self.class().stage }
    }

    /// The side on which it occurred, as in [`Class::side`].
    #[must_use]
    pub fn side(&self) -> &'static str {
        if self.is_caused_by_registry() { "registry" } else { self.class().side }
    }

    /// Whether the registry led to the denied object by a redirect or a challenge, not the request.
    fn is_caused_by_registry(&self) -> bool {
        matches!(self, Self::Denied { refusal: Refusal::TokenService | Refusal::Downgrade | Refusal::Address, .. })
    }

    /// Whether a retry, with nothing changed, may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.class().retryable
    }
}
