//! The address of an MQTT broker.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::util::authority::split_authority;

/// The address at which the MQTT broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection uses TLS.
    pub tls: bool,
    /// The path of the WebSocket (RFC 6455) that carries MQTT, beginning with a slash; none for MQTT over TCP or TLS.
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
}
