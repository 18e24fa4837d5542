//! What can go wrong with one answer.

/// What goes wrong with one answer; the others are as they should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing: a blob is answered as it should be.
    None,

    /// The manifest names another module of the same size, which the registry has, too.
    ManifestTampered,
    /// In place of the manifest is that of the other module, under its own digest.
    ManifestReplaced,
    /// The manifest never ends.
    HugeManifest,
    /// The manifest has so many bytes, as its `Content-Length` states.
    ManifestOfLength(u64),
    /// The layer's descriptor has these `urls`.
    ForeignUrls(Vec<String>),
    /// Instead of a manifest, an error with this status; with 429 goes `Retry-After: 1`.
    Status(u16),
    /// Instead of a manifest, the status 429 and `Retry-After` with so many seconds.
    TryAfter(u32),
    /// The manifest is to be had at this URL.
    ManifestRedirectTo(String),

    /// One byte of the blob is another.
    Tampered,
    /// The connection is cut before the second half of the blob, though `Content-Length` was right.
    Truncated,
    /// The connection is cut before the byte of the blob at this offset, likewise.
    CutAt(usize),
    /// The second half of the blob is missing, and the answer ends in order.
    Short,
    /// The blob is followed by more, without end.
    Overlong,
    /// The blob comes at one byte a second.
    Slow,
    /// The blob comes from its start, whatever range was requested.
    WithoutRange,
    /// The requested range comes under this `Content-Range`, or none if it is empty.
    ContentRange(String),
    /// Instead of a blob, an error with this status; with 429 goes `Retry-After: 1`.
    BlobStatus(u16),
    /// The blob is to be had at this URL.
    RedirectTo(String),

    /// The token never ends.
    EndlessToken,
    /// The token holds a line break.
    TokenWithNewline,
    /// Instead of a token, an error with this status; with 429 goes `Retry-After: 1`.
    TokenStatus(u16),
    /// The token is to be had at this URL.
    TokenRedirectTo(String),
    /// Tokens are to be had at this URL.
    ForeignRealm(String),
}

/// The kind of answer that a fault spoils.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Challenge,
    Token,
    Manifest,
    Blob,
}

impl Fault {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::ForeignRealm(_) => Stage::Challenge,
            Self::EndlessToken | Self::TokenWithNewline | Self::TokenStatus(_) | Self::TokenRedirectTo(_) => {
                Stage::Token
            }
            Self::ManifestTampered
            | Self::ManifestReplaced
            | Self::HugeManifest
            | Self::ManifestOfLength(_)
            | Self::ForeignUrls(_)
            | Self::Status(_)
            | Self::TryAfter(_)
            | Self::ManifestRedirectTo(_) => Stage::Manifest,
            _ => Stage::Blob,
        }
    }
}
