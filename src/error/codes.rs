//! The class of each error.

use super::{Class, Error, Refusal, Side, Stage};

macro_rules! classes {
    ($($($variant:ident)|+: $code:literal, $stage:ident, $side:ident, retryable: $retryable:literal;)*) => {
        impl Class {
            /// Every class, in the order of `docs/errors.md`.
            pub const ALL: &[Self] = &[$(
                Self { code: $code, stage: Stage::$stage, side: Side::$side, retryable: $retryable },
            )*];
        }

        impl Error {
            /// Every code, in the order of `docs/errors.md`.
            pub const CODES: &[&str] = &[$($code),*];

            fn class(&self) -> Class {
                match self {
                    Self::Reported { class: Some(class), .. } => *class,
                    $($(Self::$variant { .. })|+ => {
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
    BrokerUntrusted: "broker-untrusted", Connect, Broker, retryable: false;
    Setup: "setup", Connect, Local, retryable: false;
    Stopping: "stopping", Publish, Local, retryable: true;
    Withdrawn: "withdrawn", Publish, Local, retryable: true;
    GivenWay: "given-way", Publish, Local, retryable: true;
    Timeout | Unanswered: "timeout", Publish, Broker, retryable: true;
    Irregular: "irregular", Publish, Broker, retryable: true;
    Reported: "reported", Publish, Local, retryable: true;
}

impl Error {
    /// A stable name for programs, listed in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.class().code
    }

    /// The stage at which it occurred.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.is_caused_by_registry() { Stage::Fetch } else { self.class().stage }
    }

    /// The side on which it occurred.
    #[must_use]
    pub fn side(&self) -> Side {
        if self.is_caused_by_registry() { Side::Registry } else { self.class().side }
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
