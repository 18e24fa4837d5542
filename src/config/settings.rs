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
    /// Whether a variable is one of its names.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names.contains(&name) || self.old_names.contains(&name)
    }

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
    help: "Names this proxy, and is its MQTT client identifier; a random UUID, kept in the state folder, if not given.",
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
    help: "How long connecting to the broker may take.",
    ..Setting::PLAIN
};
pub(super) const MQTT_QOS: Setting = Setting {
    names: &["PROXY_MQTT_QOS"],
    default: Some("2"),
    accepts: "0, 1 or 2",
    help: "Quality of service of chunks. Requests are subscribed to at QoS 1.",
    ..Setting::PLAIN
};
pub(super) const DOMAIN_ID: Setting = Setting {
    names: &["PROXY_DOMAIN_ID", "PROXY_TENANT_ID"],
    accepts: "an id without / + # and control characters, or + for every domain",
    help: "The domain (later: tenant) of the channels. Required.",
    ..Setting::PLAIN
};
pub(super) const CHANNEL_ID: Setting = Setting {
    names: &["PROXY_CHANNEL_ID"],
    old_names: &["PROPLET_CHANNEL_ID"],
    accepts: "ids without / + # and control characters, with commas between, or + for every channel",
    help: "The channels on which devices ask and are answered. Required.",
    ..Setting::PLAIN
};
pub(super) const SHARE_GROUP: Setting = Setting {
    names: &["PROXY_SHARE_GROUP"],
    accepts: ID,
    help: "Replicas that name the same group divide the requests among themselves. Each needs an instance id and a state folder of its own.",
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
    help: "Whether registries are given credentials: those below, and those of the docker configuration file.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_USERNAME: Setting = Setting {
    names: &["PROXY_REGISTRY_USERNAME"],
    accepts: "a user name without colon and control characters",
    help: "User name for the configured registry.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_PASSWORD: Setting = Setting {
    names: &["PROXY_REGISTRY_PASSWORD"],
    accepts: "the password that goes with the user name, without control characters",
    help: "Password for the configured registry.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const REGISTRY_TOKEN: Setting = Setting {
    names: &["PROXY_REGISTRY_TOKEN"],
    accepts: "a bearer token: printable ASCII without spaces",
    help: "Bearer token for the configured registry, used where no user name and password are given.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const REGISTRY_IDENTITY_TOKEN: Setting = Setting {
    names: &["PROXY_REGISTRY_IDENTITY_TOKEN"],
    accepts: "an OAuth2 refresh token: printable ASCII without spaces",
    help: "OAuth2 refresh (identity) token, which a token service exchanges for access tokens.",
    secret: true,
    ..Setting::PLAIN
};
pub(super) const REGISTRY_AUTH_FILE: Setting = Setting {
    names: &["PROXY_REGISTRY_AUTH_FILE"],
    accepts: "the path of a docker configuration file in JSON",
    help: "Docker configuration file with credentials for any number of registries; `config.json` in the folder \
           `DOCKER_CONFIG`, or else in `~/.docker`, if not given. Read where PROXY_AUTHENTICATE is true.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_ALLOW: Setting = Setting {
    names: &["PROXY_REGISTRY_ALLOW"],
    accepts: "a comma-separated list of [http://]host[:port][/repository or /prefix/*], or * for any public registry",
    help: "What requests may name beside the configured registry. Entries for its own host restrict that.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_TOKEN_SERVICES: Setting = Setting {
    names: &["PROXY_REGISTRY_TOKEN_SERVICES"],
    accepts: "a comma-separated list of registry=host[:port]",
    help: "Token services that are trusted though they are on another host or port than their registry.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_MIRRORS: Setting = Setting {
    names: &["PROXY_REGISTRY_MIRRORS"],
    accepts: "a comma-separated list of registry=[http://]host[:port][/prefix]",
    help: "Mirrors of registries, asked in this order before the registry itself.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_CA_CERT: Setting = Setting {
    names: &["PROXY_REGISTRY_CA_CERT"],
    accepts: "the path of a file with certificates in PEM",
    help: "Certificate authorities that are trusted beside the system's, for all registries.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_CLIENT_CERT: Setting = Setting {
    names: &["PROXY_REGISTRY_CLIENT_CERT"],
    accepts: "the path of a file with a certificate, and its chain if any, in PEM",
    help: "Client certificate, shown to the configured registry only.",
    ..Setting::PLAIN
};
pub(super) const REGISTRY_CLIENT_KEY: Setting = Setting {
    names: &["PROXY_REGISTRY_CLIENT_KEY"],
    accepts: "the path of a file with the certificate's private key in PEM",
    help: "The private key of the client certificate.",
    ..Setting::PLAIN
};
pub(super) const VERIFY_KEY: Setting = Setting {
    names: &["PROXY_VERIFY_KEY"],
    accepts: "public keys (ECDSA P-256 or P-384, Ed25519, RSA) in PEM, or a comma-separated list of paths of such files",
    help: "Public keys; only modules with a cosign signature by one of them are delivered.",
    ..Setting::PLAIN
};
pub(super) const PULL_POLICY: Setting = Setting {
    names: &["PROXY_PULL_POLICY"],
    default: Some("if-not-present"),
    accepts: "always, if-not-present or never",
    help: "`always`: the registry confirms every request. `if-not-present`: known digests come from the store, and known \
           tags if the registry cannot be reached. `never`: the store only.",
    ..Setting::PLAIN
};
pub(super) const TAG_TTL: Setting = Setting {
    names: &["PROXY_TAG_TTL"],
    default: Some("0s"),
    accepts: "a duration such as 0s, 30s or 1h",
    help: "How long the digest behind a tag is believed before the registry is asked again.",
    ..Setting::PLAIN
};
pub(super) const FETCH_TIMEOUT: Setting = Setting {
    names: &["PROXY_FETCH_TIMEOUT"],
    default: Some("5m"),
    accepts: "a duration over zero such as 90s or 5m",
    help: "How long finding and fetching one module may take, waiting for its turn included.",
    ..Setting::PLAIN
};
pub(super) const MAX_MODULE_SIZE: Setting = Setting {
    names: &["PROXY_MAX_MODULE_SIZE"],
    default: Some("1GiB"),
    accepts: "a size over zero such as 1000000, 64KiB, 10MiB or 1GiB",
    help: "Largest module, and largest layer before and after it is unpacked.",
    ..Setting::PLAIN
};
pub(super) const CACHE_DIR: Setting = Setting {
    names: &["PROXY_CACHE_DIR"],
    accepts: "the path of a folder",
    help: "The folder of the store; `propeller-proxy` in the user's or system's folder for caches if not given, or a temporary folder if \
           that cannot be used.",
    ..Setting::PLAIN
};
pub(super) const CACHE_SIZE: Setting = Setting {
    names: &["PROXY_CACHE_SIZE"],
    default: Some("1GiB"),
    accepts: "a size such as 0, 64KiB, 10MiB or 1GiB",
    help: "Disk space that the store may take; the least recently used goes first. 0 keeps nothing.",
    ..Setting::PLAIN
};
pub(super) const STATE_DIR: Setting = Setting {
    names: &["PROXY_STATE_DIR"],
    accepts: "the path of a folder",
    help: "The folder of what must survive a restart: open requests, and what was sent lately. `propeller-proxy` in the user's or \
           system's folder for state if not given, or a temporary folder if that cannot be used.",
    ..Setting::PLAIN
};
pub(super) const TAG_MOVES: Setting = Setting {
    names: &["PROXY_TAG_MOVES"],
    default: Some("fresh"),
    accepts: "fresh or pinned",
    help: "What is sent when a tag moves while devices may have chunks of what it meant. `fresh`: the new module, in another number \
           of chunks. `pinned`: the old one, until nobody has asked for 7 min, or for 15 min.",
    ..Setting::PLAIN
};
pub(super) const MAX_REQUESTS: Setting = Setting {
    names: &["PROXY_MAX_REQUESTS"],
    default: Some("1024"),
    accepts: "1 to 1000000",
    help: "Requests that may be open at once; more are refused.",
    ..Setting::PLAIN
};
pub(super) const MAX_FETCHES: Setting = Setting {
    names: &["PROXY_MAX_FETCHES"],
    default: Some("8"),
    accepts: "1 to 64",
    help: "Fetches from registries at once.",
    ..Setting::PLAIN
};
pub(super) const MAX_IN_FLIGHT: Setting = Setting {
    names: &["PROXY_MAX_IN_FLIGHT"],
    default: Some("8MiB"),
    accepts: "a size over zero such as 64KiB or 8MiB",
    help: "Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is sent.",
    ..Setting::PLAIN
};
pub(super) const PUBLISH_RATE: Setting = Setting {
    names: &["PROXY_PUBLISH_RATE"],
    accepts: "a size over zero such as 64KiB or 2MB",
    help: "Bytes of messages a second that a channel gets; as many as the broker takes if not given.",
    ..Setting::PLAIN
};
pub(super) const MAX_REPEATS: Setting = Setting {
    names: &["PROXY_MAX_REPEATS"],
    default: Some("256MiB"),
    accepts: "a size such as 0, 64KiB or 256MiB",
    help: "Bytes of messages that a channel gets in any 6 min beyond the first copy of each app; more is refused.",
    ..Setting::PLAIN
};
pub(super) const MAX_PASSES: Setting = Setting {
    names: &["PROXY_MAX_PASSES"],
    default: Some("10"),
    accepts: "1 to 6000",
    help: "Times a minute that an app of 1 MiB or more is sent: two may follow at once, then requests wait and share one.",
    ..Setting::PLAIN
};
pub(super) const CHUNK_SIZE: Setting = Setting {
    names: &["PROXY_CHUNK_SIZE"],
    default: Some("512000"),
    accepts: "a size from 1 to 7800000 bytes, such as 512000 or 64KiB",
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
    &SHARE_GROUP,
    &CLIENT_ID,
    &CLIENT_KEY,
    &REGISTRY_URL,
    &AUTHENTICATE,
    &REGISTRY_USERNAME,
    &REGISTRY_PASSWORD,
    &REGISTRY_TOKEN,
    &REGISTRY_IDENTITY_TOKEN,
    &REGISTRY_AUTH_FILE,
    &REGISTRY_ALLOW,
    &REGISTRY_TOKEN_SERVICES,
    &REGISTRY_MIRRORS,
    &REGISTRY_CA_CERT,
    &REGISTRY_CLIENT_CERT,
    &REGISTRY_CLIENT_KEY,
    &VERIFY_KEY,
    &PULL_POLICY,
    &TAG_TTL,
    &FETCH_TIMEOUT,
    &MAX_MODULE_SIZE,
    &CACHE_DIR,
    &CACHE_SIZE,
    &STATE_DIR,
    &TAG_MOVES,
    &MAX_REQUESTS,
    &MAX_FETCHES,
    &MAX_IN_FLIGHT,
    &PUBLISH_RATE,
    &MAX_REPEATS,
    &MAX_PASSES,
    &CHUNK_SIZE,
];
