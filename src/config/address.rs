//! Addresses of brokers and registries.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use url::Host;

use crate::reference::{canonical_host, is_repository, spelled};

/// Where the MQTT broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is made with TLS.
    pub tls: bool,
    /// The path of the WebSocket (RFC 6455) below which MQTT is spoken, beginning with a slash; none where it is spoken
    /// over TCP itself.
    pub path: Option<String>,
}

impl FromStr for BrokerAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, authority) = text.split_once("://").unwrap_or(("tcp", text));
        let (tls, default_port, is_web_socket) = match scheme.to_ascii_lowercase().as_str() {
            "tcp" | "mqtt" => (false, 1883, false),
            "ssl" | "tls" | "mqtts" => (true, 8883, false),
            "ws" => (false, 80, true),
            "wss" => (true, 443, true),
            _ => return Err(()),
        };
        let (authority, path) = if is_web_socket {
            let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
            let is_path = path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@'));
            (authority, Some(is_path.then(|| format!("/{path}")).ok_or(())?))
        } else {
            (authority.strip_suffix('/').unwrap_or(authority), None)
        };
        if authority.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: authority.to_owned(), port: default_port, tls, path });
        }
        let (host, port) = split_authority(authority).ok_or(())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: port.unwrap_or(default_port), tls, path })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.path, self.tls) {
            (None, false) => "mqtt",
            (None, true) => "mqtts",
            (Some(_), false) => "ws",
            (Some(_), true) => "wss",
        };
        let (host, port, path) = (&self.host, self.port, self.path.as_deref().unwrap_or_default());
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

/// How a registry is spoken to.
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
    /// How it is spoken to.
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
    /// This registry's host if `host` means it with the port that goes without saying, else `host`.
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

/// Whether `host[:port]` names this machine.
#[must_use]
pub fn is_loopback(authority: &str) -> bool {
    let Some((host, _)) = split_authority(authority) else { return false };
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; `None` if it is none of them.
pub(crate) fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|&port: &u16| digits && port > 0)?))
        }
        _ => (authority, None),
    };
    let valid = match Host::parse(host).ok()? {
        // The URL standard reads `1.2.3` or `0x7f.1` as addresses; a configuration had better say what it means.
        Host::Ipv4(ip) => host == ip.to_string(),
        Host::Ipv6(_) => true,
        Host::Domain(name) => {
            name.eq_ignore_ascii_case(host)
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                && name.trim_end_matches('.').split('.').all(|label| !label.is_empty() && label.len() <= 63)
        }
    };
    valid.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_addresses() {
        for (text, expected) in [
            ("tcp://localhost:1883", "mqtt://localhost:1883"),
            ("mqtt://broker", "mqtt://broker:1883"),
            ("ssl://b.example:9000", "mqtts://b.example:9000"),
            ("tls://b.example", "mqtts://b.example:8883"),
            ("MQTTS://b.example/", "mqtts://b.example:8883"),
            ("10.1.2.3:1884", "mqtt://10.1.2.3:1884"),
            ("broker", "mqtt://broker:1883"),
            ("tcp://[::1]:1883", "mqtt://[::1]:1883"),
            ("[fe80::1]", "mqtt://[fe80::1]:1883"),
            ("::1", "mqtt://[::1]:1883"),
            ("ws://b", "ws://b:80/"),
            ("WSS://b/mqtt", "wss://b:443/mqtt"),
            ("wss://[::1]:8084/a/b", "wss://[::1]:8084/a/b"),
        ] {
            assert_eq!(text.parse::<BrokerAddress>().unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "http://b:1",
            "tcp://",
            "tcp://:1883",
            "b:0",
            "b:65536",
            "b:+1",
            "b:x",
            "b:",
            "tcp://u:p@b:1883",
            "b/path",
            "tcp://b:1?x",
            "[::1",
            "::1:x",
            "1.2.3.4.5:1",
            "1.2.3",
            "b b",
            "b..c",
            "ws://",
            "ws://u:p@b/",
            "ws://b/mqtt?x",
        ] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
    }

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
