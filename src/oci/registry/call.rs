//! One HTTP request, before it is sent.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RANGE};
use reqwest::{Method, Url};

use crate::oci::digest::Digest;

/// One HTTP request. No `Debug`: headers and body may hold a token.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) method: Method,
    /// The URL at the registry or token service. Its origin alone is sent the authorization.
    pub(crate) url: Url,
    /// The URL of an upload, which may have another origin.
    pub(super) location: Option<Url>,
    pub(crate) redirects: Redirects,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

/// What becomes of redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// They are followed within bounds: registries redirect to their CDN for blobs.
    Follow,
    /// They are returned like any other response.
    Return,
}

impl Call {
    /// A call that follows no redirects: it may hold credentials or a body.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, location: None, redirects: Redirects::Return, headers: HeaderMap::new(), body: None }
    }

    /// A call that reads, and follows redirects.
    pub(super) fn read(method: Method, url: Url) -> Self {
        Self { redirects: Redirects::Follow, ..Self::new(method, url) }
    }

    pub(super) fn with_body(self, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..self.with_header(CONTENT_TYPE, media_type) }
    }

    pub(super) fn accept(self, media_types: &str) -> Self {
        self.with_header(ACCEPT, media_types)
    }

    /// Requests the content only if its digest is another one (RFC 9110, section 13.1.2; registries use digests as
    /// entity tags).
    pub(super) fn if_none_match(self, digest: Digest) -> Self {
        self.with_header(IF_NONE_MATCH, &format!("\"{digest}\""))
    }

    /// Requests the first `size` bytes.
    pub(super) fn ending_at(self, size: usize) -> Self {
        self.with_header(RANGE, &format!("bytes=0-{}", size.saturating_sub(1)))
    }

    /// Requests the bytes after the first `offset` (RFC 9110, section 14.2).
    pub(super) fn starting_at(self, offset: u64) -> Self {
        if offset == 0 { self } else { self.with_header(RANGE, &format!("bytes={offset}-")) }
    }

    fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn has_range(&self) -> bool {
        self.headers.contains_key(RANGE)
    }
}
