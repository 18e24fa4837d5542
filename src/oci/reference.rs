//! OCI references: which module a device requests.

use std::fmt;

use crate::error::{Error, is_obeyed};
use crate::oci::digest::Digest;
use crate::oci::host::{RegistryUrl, canonical_host, full_repository};
use crate::oci::name::{is_repository, is_tag};
use crate::util::authority::split_authority;

/// Longest reference that is accepted, bytes.
#[doc(alias = "bound")]
pub const MAX_REFERENCE_SIZE: usize = 512;

/// Where a module is: registry, repository, and tag or digest (OCI distribution specification, "Pulling manifests");
/// and the selector, where the artifact has several modules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `host[:port]` in lower case.
    pub registry: String,
    /// The repository's name.
    pub repository: String,
    /// The tag or digest in the repository.
    pub version: Version,
    /// The module's path in an archive, or the title or digest of its layer.
    pub selector: Option<String>,
}

/// A tag or a digest; where a reference has both, the digest decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// A name that may move.
    Tag(String),
    /// The content itself.
    Digest(Digest),
}

impl Reference {
    /// Reads `[oci://][host[:port]/]repository[:tag][@digest][#selector]`.
    ///
    /// A name whose first component is no host (it has no dot, no colon and is not `localhost`) resolves against
    /// `default`; on Docker Hub a bare name lies in `library`. Without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// [`Error::BadReference`].
    pub fn parse(app_name: &str, default: &RegistryUrl) -> Result<Self, Error> {
        let bad = |reason: &str| Error::BadReference {
            app_name: app_name.escape_debug().take(MAX_REFERENCE_SIZE).collect(),
            reason: reason.into(),
        };
        if app_name.len() > MAX_REFERENCE_SIZE {
            return Err(bad(&format!("it has {} bytes, more than {MAX_REFERENCE_SIZE}", app_name.len())));
        }
        let name = app_name.strip_prefix("oci://").unwrap_or(app_name);
        let (name, selector) = name.split_once('#').map_or((name, None), |(name, selector)| (name, Some(selector)));
        if selector.is_some_and(|selector| selector.is_empty() || selector.contains(is_obeyed)) {
            return Err(bad("what follows # is not a path or title"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if names_host(host) => (default.same_or(canonical_host(host)), path.to_owned()),
            _ if default.prefix.is_empty() => (default.host.clone(), name.to_owned()),
            _ => (default.host.clone(), format!("{}/{name}", default.prefix)),
        };
        if split_authority(&registry).is_none() {
            return Err(bad("its host is not host[:port]"));
        }
        let (path, digest) = path.split_once('@').map_or((&*path, None), |(path, digest)| (path, Some(digest)));
        let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        let repository = full_repository(&registry, repository);
        if !is_repository(&repository) {
            return Err(bad("its repository is not lower-case letters and digits with single separators between"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(bad("its tag is not 1 to 128 letters, digits, dots, hyphens and underscores"));
        }
        let version = match digest.map(str::parse) {
            Some(Ok(digest)) => Version::Digest(digest),
            Some(Err(())) => return Err(bad("its digest is not sha256: and 64 hexadecimal digits")),
            None => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self { registry, repository, version, selector: selector.map(str::to_owned) })
    }

    /// Another tag of the same repository, in full.
    pub(crate) fn tag_name(&self, tag: &str) -> String {
        format!("{}/{}:{tag}", self.registry, self.repository)
    }

    /// The `host[:port]` that a name begins with, if it does.
    #[must_use]
    pub fn named_host(app_name: &str) -> Option<&str> {
        let name = app_name.strip_prefix("oci://").unwrap_or(app_name);
        let (host, _) = name.split_once('/')?;
        names_host(host).then_some(host)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, version, selector } = self;
        match version {
            Version::Tag(tag) => write!(f, "{registry}/{repository}:{tag}")?,
            Version::Digest(digest) => write!(f, "{registry}/{repository}@{digest}")?,
        }
        selector.as_ref().map_or(Ok(()), |selector| write!(f, "#{selector}"))
    }
}

/// Whether the first component of a name is a host, by the rule of the container tools.
fn names_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";

    #[test]
    fn references_resolve_against_the_configured_registry() {
        for (default, app_name, expected) in [
            ("localhost:5000", "add", "localhost:5000/add:latest"),
            ("localhost:5000", "add:1.0", "localhost:5000/add:1.0"),
            ("localhost:5000", "acme/add.wasm", "localhost:5000/acme/add.wasm:latest"),
            ("localhost:5000", "localhost/add", "localhost/add:latest"),
            ("localhost:5000", "oci://ghcr.io/acme/add:v1", "ghcr.io/acme/add:v1"),
            ("localhost:5000", "GHCR.io/acme/add", "ghcr.io/acme/add:latest"),
            ("localhost:5000", "docker.io/add", "docker.io/library/add:latest"),
            ("localhost:5000", "index.docker.io/mrstevenyaga/add.wasm", "docker.io/mrstevenyaga/add.wasm:latest"),
            ("localhost:5000", "[::1]:5000/add", "[::1]:5000/add:latest"),
            ("ghcr.io/acme", "add", "ghcr.io/acme/add:latest"),
            ("docker.io", "add", "docker.io/library/add:latest"),
            ("ghcr.io", "ghcr.io:443/add", "ghcr.io/add:latest"),
            ("localhost:5000", "ghcr.io.:0443/add", "ghcr.io/add:latest"),
            ("localhost:5000", "localhost:05000/add", "localhost:5000/add:latest"),
            ("[::1]:5000", "[0:0::1]:5000/add", "[::1]:5000/add:latest"),
            ("http://registry", "registry:80/add", "registry/add:latest"),
            ("http://registry:443", "registry:443/add", "registry:443/add:latest"),
            ("localhost:5000", "add:1.0#dir/add.wasm", "localhost:5000/add:1.0#dir/add.wasm"),
        ] {
            let reference = Reference::parse(app_name, &default.parse().unwrap()).unwrap();
            assert_eq!(reference.to_string(), expected, "{app_name}");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let default = "localhost:5000".parse().unwrap();
        let reference = Reference::parse(&format!("add:1.0@{DIGEST}"), &default).unwrap();
        assert_eq!(reference.to_string(), format!("localhost:5000/add@{DIGEST}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let default = "localhost:5000".parse().unwrap();
        let long = "a".repeat(MAX_REFERENCE_SIZE + 1);
        let short_digest = "add@sha256:abcd";
        let other_digest = format!("add@sha512:{}", "a".repeat(128));
        for app_name in [
            "Add",
            "add:",
            "add@",
            "a b",
            "/add",
            "localhost:5000/",
            "localhost:port/add",
            "https://ghcr.io/add",
            "u:p@host.example/add",
            "add\n",
            "../add",
            "add#",
            "add#a\u{7}",
            "add#a\u{202e}",
            &format!("docker.io/{}", "a".repeat(255)),
            short_digest,
            &other_digest,
            &long,
        ] {
            assert_eq!(Reference::parse(app_name, &default).unwrap_err().code(), "bad-reference", "{app_name}");
        }
    }
}
