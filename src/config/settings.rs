//! The list of settings.

/// One setting and its names.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable, or variables of the same standing that must not contradict each other.
    pub names: &'static [&'static str],
    /// Names of the oldest deployments, read only where none of `names` is set.
    pub old_names: &'static [&'static str],
    /// The value where none is given; `None` where there is none.
    pub default: Option<&'static str>,
    /// What is accepted, as words for an error message.
    pub accepts: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

impl Setting {
    const PLAIN: Self = Self { names: &[], old_names: &[], default: None, accepts: "", help: "", secret: false };
}

const ID: &str = "an id without / + # and control characters";

pub(super) const LOG_LEVEL: Setting = Setting {
    names: &["PROXY_LOG_LEVEL"],
    default: Some("info"),
    accepts: "trace, debug, info, warn or error",
    help: "Least severe level of the log.",
    ..Setting::PLAIN
};
pub(super) const INSTANCE_ID: Setting = Setting {
    names: &["PROXY_INSTANCE_ID"],
    accepts: ID,
    help: "Names this process, and is its MQTT client identifier; a random UUID if not given.",
    ..Setting::PLAIN
};
pub(super) const MQTT_ADDRESS: Setting = Setting {
    names: &["PROXY_MQTT_ADDRESS"],
    default: Some("tcp://localhost:1883"),
    accepts: "host, host:port, or a URL with tcp, mqtt, ssl, tls or mqtts; IPv6 in brackets; no user, path or query",
    help: "The MQTT broker; ssl, tls and mqtts use TLS. Ports default to 1883 and 8883.",
    ..Setting::PLAIN
};
pub(super) const MQTT_TIMEOUT: Setting = Setting {
    names: &["PROXY_MQTT_TIMEOUT"],
    default: Some("30s"),
    accepts: "a duration over zero such as 30s, 1m30s or 500ms",
    help: "How long connecting to the broker, or writing to it, may take.",
    ..Setting::PLAIN
};
pub(super) const MQTT_QOS: Setting = Setting {
    names: &["PROXY_MQTT_QOS"],
    default: Some("2"),
    accepts: "0, 1 or 2",
    help: "Quality of service of chunks and of the request subscription.",
    ..Setting::PLAIN
};
pub(super) const DOMAIN_ID: Setting = Setting {
    names: &["PROXY_DOMAIN_ID", "PROXY_TENANT_ID"],
    accepts: ID,
    help: "The domain (later: tenant) of the channel. Required.",
    ..Setting::PLAIN
};
pub(super) const CHANNEL_ID: Setting = Setting {
    names: &["PROXY_CHANNEL_ID"],
    old_names: &["PROPLET_CHANNEL_ID"],
    accepts: ID,
    help: "The channel on which devices ask and are answered. Required.",
    ..Setting::PLAIN
};
pub(super) const CLIENT_ID: Setting = Setting {
    names: &["PROXY_CLIENT_ID", "PROXY_ENTITY_ID"],
    old_names: &["PROPLET_THING_ID"],
    accepts: ID,
    help: "MQTT user name; leave both it and the key out for a broker that admits anybody.",
    ..Setting::PLAIN
};
pub(super) const CLIENT_KEY: Setting = Setting {
    names: &["PROXY_CLIENT_KEY", "PROXY_API_KEY"],
    old_names: &["PROPLET_THING_KEY"],
    accepts: "the password that goes with the client id",
    help: "MQTT password.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const REGISTRY_URL: Setting = Setting {
    names: &["PROXY_REGISTRY_URL"],
    accepts: "host, host:port, or either after http:// or https://, with a repository prefix if wanted; no user or query",
    help: "The OCI registry that modules come from. Without a scheme: https, but http for loopback hosts. Required.",
    ..Setting::PLAIN
};
pub(super) const AUTHENTICATE: Setting = Setting {
    names: &["PROXY_AUTHENTICATE"],
    default: Some("false"),
    accepts: "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
    help: "Whether the registry is given the credentials below.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_USERNAME: Setting = Setting {
    names: &["PROXY_REGISTRY_USERNAME"],
    accepts: "a user name without colon and control characters",
    help: "User name for the registry.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_PASSWORD: Setting = Setting {
    names: &["PROXY_REGISTRY_PASSWORD"],
    accepts: "the password that goes with the user name, without control characters",
    help: "Password for the registry.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const REGISTRY_TOKEN: Setting = Setting {
    names: &["PROXY_REGISTRY_TOKEN"],
    accepts: "a bearer token: printable ASCII without spaces",
    help: "Bearer token for the registry, used where no user name and password are given.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const CHUNK_SIZE: Setting = Setting {
    names: &["PROXY_CHUNK_SIZE"],
    default: Some("512000"),
    accepts: "1 to 7800000 bytes",
    help: "Bytes of module in one chunk. A message is a third larger, and at most 10 MiB for stock proplets.",
    ..Setting::PLAIN
};

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[&Setting] = &[
    &LOG_LEVEL,
    &INSTANCE_ID,
    &MQTT_ADDRESS,
    &MQTT_TIMEOUT,
    &MQTT_QOS,
    &DOMAIN_ID,
    &CHANNEL_ID,
    &CLIENT_ID,
    &CLIENT_KEY,
    &REGISTRY_URL,
    &AUTHENTICATE,
    &REGISTRY_USERNAME,
    &REGISTRY_PASSWORD,
    &REGISTRY_TOKEN,
    &CHUNK_SIZE,
];
