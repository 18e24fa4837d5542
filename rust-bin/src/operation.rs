//! How those who run the daemon observe it: the settings of its log, HTTP endpoint and traces, of which the core knows
//! nothing.

use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;

use propeller_proxy::config::{FromSettings, Part, Reader, Setting, from_str};
use propeller_proxy::{read_fields, settings};
use reqwest::Url;

settings! {
    Proxy {
        CONFIG_FILE: PathBuf = "PROXY_CONFIG_FILE", parse from_str,
            accepts "the path of a TOML file with a section [proxy]",
            help "Configuration file, whose section `[proxy]` has settings under their names in lower case without \
                  `PROXY_`; `config.toml` in the working directory, if it is there, if not given.";
    }

    Operation {
        LOG_FORMAT: LogFormat = "PROXY_LOG_FORMAT", parse from_str, default Some("auto"),
            accepts "auto, json or pretty",
            help "Form of the log: `json`, one object a line; `pretty`, for people; `auto`: `pretty` on a terminal, \
                  else `json`.";

        HTTP_HOST: String = "PROXY_HTTP_HOST", parse from_str, default Some("127.0.0.1"),
            accepts "an IP address or host name of this machine",
            help "Address on which the HTTP endpoint listens; 0.0.0.0 or :: for all.";

        HTTP_PORT: Port = "PROXY_HTTP_PORT", parse from_str, default Some("9191"),
            accepts "0 to 65535, or off",
            help "Port of the HTTP endpoint, which has health, readiness and metrics. 0 takes a free one, which the \
                  log tells; `off`: none.";

        OTEL_URL: Url = "PROXY_OTEL_URL", parse otel_url,
            accepts "the http:// or https:// URL to which traces are posted, such as http://localhost:4318/v1/traces",
            help "Where traces are sent, by OTLP over HTTP; nowhere if not given. Without a path: `/v1/traces`.";

        TRACE_RATIO: f64 = "PROXY_TRACE_RATIO", parse ratio, default Some("1"),
            accepts "a number from 0 to 1, such as 0.25",
            help "The part of deliveries that is traced, where PROXY_OTEL_URL is given.";
    }
}

/// How those who run the daemon observe it.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) log_format: LogFormat,
    /// Where the HTTP endpoint listens, if there is to be one.
    pub(crate) http: Option<HttpAddress>,
    /// Where traces are posted (OTLP over HTTP), if anywhere.
    pub(crate) otel_url: Option<Url>,
    /// The part of deliveries that is traced, 0 to 1.
    pub(crate) trace_ratio: f64,
}

impl FromSettings for Operation {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Operation
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let address = reader.required(&HTTP_HOST).zip(reader.required(&HTTP_PORT));
        read_fields!(Self {
            log_format: reader.required(&LOG_FORMAT),
            http: address.map(|(host, Port(port))| port.map(|port| HttpAddress::new(&host, port))),
            otel_url: reader.optional(&OTEL_URL),
            trace_ratio: reader.required(&TRACE_RATIO),
        })
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// One object a line.
    Json,
    /// For people.
    Pretty,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "json" => Self::Json,
            "pretty" => Self::Pretty,
            _ => return Err(()),
        })
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAddress {
    /// Name or IP address, IPv6 without brackets.
    pub(crate) host: String,
    /// TCP port; 0 for a free one.
    pub(crate) port: u16,
}

impl HttpAddress {
    /// An address of a name or an IP address, which may be in brackets.
    fn new(host: &str, port: u16) -> Self {
        Self { host: host.trim_matches(['[', ']']).to_owned(), port }
    }
}

/// The port of the HTTP endpoint, if there is to be one.
#[derive(Debug)]
struct Port(Option<u16>);

impl FromStr for Port {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(Some).map(Self) }
    }
}

/// Reads where traces go; a collector's address means its usual path.
fn otel_url(text: &str) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Some(url)
}

fn ratio(text: &str) -> Option<f64> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
}
