//! What errors of one kind have in common: code, stage, side, and whether a retry can help.

use std::fmt;

/// The stage of a delivery at which an error occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Parsing the request and its reference.
    Request,
    /// Resolving the reference to a module.
    Resolve,
    /// Fetching the module into the store and verifying it.
    Fetch,
    /// Publishing the chunks.
    Publish,
    /// Setting up or connecting.
    Connect,
}

/// The side on which an error occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The device and its request.
    Request,
    /// The registry or its token service.
    Registry,
    /// The MQTT broker.
    Broker,
    /// The proxy and its machine.
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

/// What all errors of one code have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The code.
    pub code: &'static str,
    /// The stage at which they occur.
    pub stage: Stage,
    /// The side on which they occur.
    pub side: Side,
    /// Whether a retry, with nothing changed, may succeed.
    pub retryable: bool,
}
