//! One HTTP request, before it is sent.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH, RANGE};
use reqwest::{Method, Url};

use crate::oci::digest::Digest;

/// One HTTP request. No `Debug`: headers and body may hold a token.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The URL at the registry or token service. Its origin alone is sent the authorization.
    pub(super) url: Url,
    /// The URL of an upload, which may have another origin.
    pub(super) location: Option<Url>,
    pub(super) redirects: Redirects,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// What becomes of redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
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

    pub(super) fn with_body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = Some(body.into());
        self
    }

    pub(super) fn accept(mut self, media_types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(media_types));
        self
    }

    /// Requests the content only if its digest is another one (RFC 9110, section 13.1.2; registries use digests as
    /// entity tags).
    pub(super) fn if_none_match(mut self, digest: Digest) -> Self {
        if let Ok(value) = HeaderValue::from_str(&format!("\"{digest}\"")) {
            self.headers.insert(IF_NONE_MATCH, value);
        }
        self
    }

    /// Requests the first `size` bytes.
    pub(super) fn ending_at(mut self, size: usize) -> Self {
        if let Ok(value) = HeaderValue::from_str(&format!("bytes=0-{}", size.saturating_sub(1))) {
            self.headers.insert(RANGE, value);
        }
        self
    }

    /// Requests the bytes after the first `offset` (RFC 9110, section 14.2).
    pub(super) fn starting_at(mut self, offset: u64) -> Self {
        if offset > 0
            && let Ok(value) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            self.headers.insert(RANGE, value);
        }
        self
    }

    pub(super) fn has_range(&self) -> bool {
        self.headers.contains_key(RANGE)
    }
}
