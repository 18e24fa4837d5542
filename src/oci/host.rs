//! Registry hosts: how they are written, and the registry that short names resolve against.

use std::fmt;
use std::str::FromStr;

use url::Host;

use crate::oci::name::is_repository;
use crate::util::authority::{is_loopback, split_authority};

pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The URL scheme of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS: loopback hosts, and where the configuration says so.
    Http,
    /// With TLS.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// The registry that short names resolve against, and the prefix of their repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl {
    /// Its URL scheme.
    pub scheme: Scheme,
    /// `host[:port]` in lower case.
    pub host: String,
    /// Repository components put before short names, without slashes at the ends; mostly empty.
    pub prefix: String,
}

impl FromStr for RegistryUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, host, prefix) = authority(text)?;
        let prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && !is_repository(&prefix) {
            return Err(());
        }
        Ok(Self { scheme, host, prefix })
    }
}

impl RegistryUrl {
    /// This registry's host if `host` names it with the default port, else `host`.
    pub(crate) fn same_or(&self, host: String) -> String {
        let port = if self.scheme == Scheme::Http { ":80" } else { ":443" };
        let same = host.strip_suffix(port) == Some(&self.host) || self.host.strip_suffix(":443") == Some(&host);
        if same { self.host.clone() } else { host }
    }
}

/// Splits `[scheme://]host[:port][/path]` into scheme, canonical host and path. Without a scheme it is https, but http
/// for loopback hosts.
pub(super) fn authority(text: &str) -> Result<(Scheme, String, &str), ()> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    split_authority(authority).ok_or(())?;
    let scheme = match scheme.as_deref() {
        Some("http") => Scheme::Http,
        None if is_loopback(authority) => Scheme::Http,
        Some("https") | None => Scheme::Https,
        Some(_) => return Err(()),
    };
    let host = spelled(authority);
    let host = match scheme {
        Scheme::Https => canonical_host(host.strip_suffix(":443").unwrap_or(&host)),
        Scheme::Http => host.strip_suffix(":80").map_or(host.clone(), str::to_owned),
    };
    Ok((scheme, host, path))
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// One spelling for each host: lower case, addresses and ports as numbers are written, no dot at the end, one name for
/// Docker Hub, and no default port.
pub(crate) fn canonical_host(authority: &str) -> String {
    let authority = spelled(authority);
    let host = if is_loopback(&authority) { &authority } else { authority.strip_suffix(":443").unwrap_or(&authority) };
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// A host and port in one spelling; text that is neither stays as it is.
pub(crate) fn spelled(authority: &str) -> String {
    let lower = authority.to_ascii_lowercase();
    let Some((host, port)) = split_authority(&lower) else { return lower };
    let Ok(host) = Host::parse(host.trim_end_matches('.')) else { return lower };
    port.map_or(host.to_string(), |port| format!("{host}:{port}"))
}

/// The host that serves a registry's API.
pub(crate) fn api_host(registry: &str) -> &str {
    if registry == DOCKER_HUB { "registry-1.docker.io" } else { registry }
}

/// A repository's whole name: on Docker Hub a bare name lies in `library`.
pub(crate) fn full_repository(registry: &str, repository: &str) -> String {
    if registry == DOCKER_HUB && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_urls() {
        use Scheme::{Http, Https};
        for (text, scheme, host, prefix) in [
            ("localhost:5000", Http, "localhost:5000", ""),
            ("127.0.0.1:5000", Http, "127.0.0.1:5000", ""),
            ("[::1]:5000", Http, "[::1]:5000", ""),
            ("ghcr.io", Https, "ghcr.io", ""),
            ("GHCR.io/acme/", Https, "ghcr.io", "acme"),
            ("http://registry:5000", Http, "registry:5000", ""),
            ("https://localhost:5000/a/b", Https, "localhost:5000", "a/b"),
            ("docker.io", Https, "docker.io", ""),
            ("ghcr.io:443/acme", Https, "ghcr.io", "acme"),
            ("http://registry:80", Http, "registry", ""),
        ] {
            let url: RegistryUrl = text.parse().unwrap();
            assert_eq!((url.scheme, url.host.as_str(), url.prefix.as_str()), (scheme, host, prefix), "{text}");
        }
        for text in
            ["", "http://", "ftp://r", "r/UPPER", "u:p@r", "r?x=1", "r/a:b", "r/a@b", "r#f", "r:99999", "::1", "[::1"]
        {
            assert!(text.parse::<RegistryUrl>().is_err(), "{text}");
        }
    }
}
