//! The authority of a URL, `host[:port]` (RFC 3986, section 3.2), in addresses of brokers and registries.

use url::Host;

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
    let is_valid = match Host::parse(host).ok()? {
        // The URL standard parses `1.2.3` and `0x7f.1` as addresses; a configuration has to be unambiguous.
        Host::Ipv4(ip) => host == ip.to_string(),
        Host::Ipv6(_) => true,
        Host::Domain(name) => {
            name.eq_ignore_ascii_case(host)
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                && name.trim_end_matches('.').split('.').all(|label| !label.is_empty() && label.len() <= 63)
        }
    };
    is_valid.then_some((host, port))
}
