//! What each setting is called, accepts and does.

use super::{Part, Setting};

const OF_PROXY: Setting = Setting::of(Part::Proxy);
const OF_OPERATION: Setting = Setting::of(Part::Operation);
const OF_BROKER: Setting = Setting::of(Part::Broker);
const OF_CHANNELS: Setting = Setting::of(Part::Channels);
const OF_REGISTRY: Setting = Setting::of(Part::Registry);
const OF_STORE: Setting = Setting::of(Part::Store);
const OF_DELIVERY: Setting = Setting::of(Part::Delivery);

const ID: &str = "an id without / + # and control characters";

pub(in crate::config) const LOG_LEVEL: Setting = Setting {
    names: &["PROXY_LOG_LEVEL"],
    default: Some("info"),
    accepts: "trace, debug, info, warn or error",
    help: "Least severe level of the log.",
    ..OF_PROXY
};
pub(in crate::config) const INSTANCE_ID: Setting = Setting {
    names: &["PROXY_INSTANCE_ID"],
    accepts: ID,
    help: "Names this proxy, and is its MQTT client identifier; a random UUID, kept in the state folder, if not given.",
    ..OF_PROXY
};
pub(in crate::config) const SHARE_GROUP: Setting = Setting {
    names: &["PROXY_SHARE_GROUP"],
    accepts: ID,
    help: "Replicas that name the same group divide the requests among themselves. Each needs an instance id and a state folder of its own.",
    ..OF_PROXY
};
pub(in crate::config) const CONFIG_FILE: Setting = Setting {
    names: &["PROXY_CONFIG_FILE"],
    accepts: "the path of a TOML file with a section [proxy]",
    help: "Configuration file, whose section `[proxy]` has settings under their names in lower case without `PROXY_`; `config.toml` in \
           the working directory, if it is there, if not given.",
    ..OF_PROXY
};
pub(in crate::config) const LOG_FORMAT: Setting = Setting {
    names: &["PROXY_LOG_FORMAT"],
    default: Some("auto"),
    accepts: "auto, json or pretty",
    help: "Form of the log: `json`, one object a line; `pretty`, for people; `auto`: `pretty` on a terminal, else `json`.",
    ..OF_OPERATION
};
pub(in crate::config) const HTTP_HOST: Setting = Setting {
    names: &["PROXY_HTTP_HOST"],
    default: Some("127.0.0.1"),
    accepts: "an IP address or host name of this machine",
    help: "Address on which the HTTP endpoint listens; 0.0.0.0 or :: for all.",
    ..OF_OPERATION
};
pub(in crate::config) const HTTP_PORT: Setting = Setting {
    names: &["PROXY_HTTP_PORT"],
    default: Some("9191"),
    accepts: "0 to 65535, or off",
    help: "Port of the HTTP endpoint, which has health, readiness and metrics. 0 takes a free one, which the log tells; `off`: none.",
    ..OF_OPERATION
};
pub(in crate::config) const OTEL_URL: Setting = Setting {
    names: &["PROXY_OTEL_URL"],
    accepts: "the http:// or https:// URL to which traces are posted, such as http://localhost:4318/v1/traces",
    help: "Where traces are sent, by OTLP over HTTP; nowhere if not given. Without a path: `/v1/traces`.",
    ..OF_OPERATION
};
pub(in crate::config) const TRACE_RATIO: Setting = Setting {
    names: &["PROXY_TRACE_RATIO"],
    default: Some("1"),
    accepts: "a number from 0 to 1, such as 0.25",
    help: "The part of deliveries that is traced, where PROXY_OTEL_URL is given.",
    ..OF_OPERATION
};
pub(in crate::config) const MQTT_ADDRESS: Setting = Setting {
    names: &["PROXY_MQTT_ADDRESS"],
    default: Some("tcp://localhost:1883"),
    accepts: "host, host:port, or a URL with tcp, mqtt, ssl, tls, mqtts, ws or wss; IPv6 in brackets; a path with ws and wss only; \
              no user or query",
    help: "The MQTT broker; ssl, tls and mqtts use TLS, ws and wss WebSockets. Ports default to 1883, 8883, 80 and 443.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_TIMEOUT: Setting = Setting {
    names: &["PROXY_MQTT_TIMEOUT"],
    default: Some("30s"),
    accepts: "a duration over zero such as 30s, 1m30s or 500ms",
    help: "How long connecting to the broker may take.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_QOS: Setting = Setting {
    names: &["PROXY_MQTT_QOS"],
    default: Some("2"),
    accepts: "0, 1 or 2",
    help: "Quality of service of chunks. Requests are subscribed to at QoS 1.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_TLS_CA_CERT: Setting = Setting {
    names: &["PROXY_MQTT_TLS_CA_CERT"],
    old_names: &["PROXY_MQTT_CA_PATH"],
    accepts: "the path of a file with certificates in PEM",
    help: "Certificate authorities that are trusted beside the system's, for the broker.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_TLS_CLIENT_CERT: Setting = Setting {
    names: &["PROXY_MQTT_TLS_CLIENT_CERT"],
    old_names: &["PROXY_MQTT_CERT_PATH"],
    accepts: "the path of a file with a certificate, and its chain if any, in PEM",
    help: "Client certificate, shown to the broker.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_TLS_CLIENT_KEY: Setting = Setting {
    names: &["PROXY_MQTT_TLS_CLIENT_KEY"],
    old_names: &["PROXY_MQTT_KEY_PATH"],
    accepts: "the path of a file with the certificate's private key in PEM",
    help: "The private key of the client certificate.",
    ..OF_BROKER
};
pub(in crate::config) const MQTT_TLS_INSECURE_SKIP_VERIFY: Setting = Setting {
    names: &["PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY"],
    default: Some("false"),
    accepts: "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
    help: "Whether any certificate of the broker is taken: whoever is between can then read and change everything. For experiments only.",
    ..OF_BROKER
};
pub(in crate::config) const DOMAIN_ID: Setting = Setting {
    names: &["PROXY_DOMAIN_ID", "PROXY_TENANT_ID"],
    accepts: "an id without / + # and control characters, or + for every domain",
    help: "The domain (later: tenant) of the channels. Required.",
    ..OF_CHANNELS
};
pub(in crate::config) const CHANNEL_ID: Setting = Setting {
    names: &["PROXY_CHANNEL_ID"],
    old_names: &["PROPLET_CHANNEL_ID"],
    accepts: "ids without / + # and control characters, with commas between, or + for every channel",
    help: "The channels on which devices ask and are answered. Required.",
    ..OF_CHANNELS
};
pub(in crate::config) const CLIENT_ID: Setting = Setting {
    names: &["PROXY_CLIENT_ID", "PROXY_ENTITY_ID"],
    old_names: &["PROPLET_THING_ID"],
    accepts: ID,
    help: "MQTT user name; leave both it and the key out for a broker that admits anybody.",
    ..OF_BROKER
};
pub(in crate::config) const CLIENT_KEY: Setting = Setting {
    names: &["PROXY_CLIENT_KEY", "PROXY_API_KEY"],
    old_names: &["PROPLET_THING_KEY"],
    accepts: "the password that goes with the client id",
    help: "MQTT password.",
    secret: true,
    ..OF_BROKER
};
pub(in crate::config) const REGISTRY_URL: Setting = Setting {
    names: &["PROXY_REGISTRY_URL"],
    accepts: "host, host:port, or either after http:// or https://, with a repository prefix if wanted; no user or query",
    help: "The OCI registry that modules come from. Without a scheme: https, but http for loopback hosts. Required.",
    ..OF_REGISTRY
};
pub(in crate::config) const AUTHENTICATE: Setting = Setting {
    names: &["PROXY_AUTHENTICATE"],
    default: Some("false"),
    accepts: "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
    help: "Whether registries are given credentials: those below, and those of the docker configuration file.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_USERNAME: Setting = Setting {
    names: &["PROXY_REGISTRY_USERNAME"],
    accepts: "a user name without colon and control characters",
    help: "User name for the configured registry.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_PASSWORD: Setting = Setting {
    names: &["PROXY_REGISTRY_PASSWORD"],
    accepts: "the password that goes with the user name, without control characters",
    help: "Password for the configured registry.",
    secret: true,
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_TOKEN: Setting = Setting {
    names: &["PROXY_REGISTRY_TOKEN"],
    accepts: "a bearer token: printable ASCII without spaces",
    help: "Bearer token for the configured registry, used where no user name and password are given.",
    secret: true,
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_IDENTITY_TOKEN: Setting = Setting {
    names: &["PROXY_REGISTRY_IDENTITY_TOKEN"],
    accepts: "an OAuth2 refresh token: printable ASCII without spaces",
    help: "OAuth2 refresh (identity) token, which a token service exchanges for access tokens.",
    secret: true,
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_AUTH_FILE: Setting = Setting {
    names: &["PROXY_REGISTRY_AUTH_FILE"],
    accepts: "the path of a docker configuration file in JSON",
    help: "Docker configuration file with credentials for any number of registries; `config.json` in the folder \
           `DOCKER_CONFIG`, or else in `~/.docker`, if not given. Read where PROXY_AUTHENTICATE is true.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_ALLOW: Setting = Setting {
    names: &["PROXY_REGISTRY_ALLOW"],
    accepts: "a comma-separated list of [http://]host[:port][/repository or /prefix/*], or * for any public registry",
    help: "What requests may name beside the configured registry. Entries for its own host restrict that.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_TOKEN_SERVICES: Setting = Setting {
    names: &["PROXY_REGISTRY_TOKEN_SERVICES"],
    accepts: "a comma-separated list of registry=host[:port]",
    help: "Token services that are trusted though they are on another host or port than their registry.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_MIRRORS: Setting = Setting {
    names: &["PROXY_REGISTRY_MIRRORS"],
    accepts: "a comma-separated list of registry=[http://]host[:port][/prefix]",
    help: "Mirrors of registries, asked in this order before the registry itself.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_CA_CERT: Setting = Setting {
    names: &["PROXY_REGISTRY_CA_CERT"],
    accepts: "the path of a file with certificates in PEM",
    help: "Certificate authorities that are trusted beside the system's, for all registries.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_CLIENT_CERT: Setting = Setting {
    names: &["PROXY_REGISTRY_CLIENT_CERT"],
    accepts: "the path of a file with a certificate, and its chain if any, in PEM",
    help: "Client certificate, shown to the configured registry only.",
    ..OF_REGISTRY
};
pub(in crate::config) const REGISTRY_CLIENT_KEY: Setting = Setting {
    names: &["PROXY_REGISTRY_CLIENT_KEY"],
    accepts: "the path of a file with the certificate's private key in PEM",
    help: "The private key of the client certificate.",
    ..OF_REGISTRY
};
pub(in crate::config) const VERIFY_KEY: Setting = Setting {
    names: &["PROXY_VERIFY_KEY"],
    accepts: "public keys (ECDSA P-256 or P-384, Ed25519, RSA) in PEM, or a comma-separated list of paths of such files",
    help: "Public keys; only modules with a cosign signature by one of them are delivered.",
    ..OF_REGISTRY
};
pub(in crate::config) const PULL_POLICY: Setting = Setting {
    names: &["PROXY_PULL_POLICY"],
    default: Some("if-not-present"),
    accepts: "always, if-not-present or never",
    help: "`always`: the registry confirms every request. `if-not-present`: known digests come from the store, and known \
           tags if the registry cannot be reached. `never`: the store only.",
    ..OF_REGISTRY
};
pub(in crate::config) const TAG_TTL: Setting = Setting {
    names: &["PROXY_TAG_TTL"],
    default: Some("0s"),
    accepts: "a duration such as 0s, 30s or 1h",
    help: "How long the digest behind a tag is believed before the registry is asked again.",
    ..OF_REGISTRY
};
pub(in crate::config) const FETCH_TIMEOUT: Setting = Setting {
    names: &["PROXY_FETCH_TIMEOUT"],
    default: Some("5m"),
    accepts: "a duration over zero such as 90s or 5m",
    help: "How long finding and fetching one module may take, waiting for its turn included.",
    ..OF_REGISTRY
};
pub(in crate::config) const MAX_MODULE_SIZE: Setting = Setting {
    names: &["PROXY_MAX_MODULE_SIZE"],
    default: Some("1GiB"),
    accepts: "a size over zero such as 1000000, 64KiB, 10MiB or 1GiB",
    help: "Largest module, and largest layer before and after it is unpacked.",
    ..OF_REGISTRY
};
pub(in crate::config) const CACHE_DIR: Setting = Setting {
    names: &["PROXY_CACHE_DIR"],
    accepts: "the path of a folder",
    help: "The folder of the store; `propeller-proxy` in the user's or system's folder for caches if not given, or a temporary folder if \
           that cannot be used.",
    ..OF_STORE
};
pub(in crate::config) const CACHE_SIZE: Setting = Setting {
    names: &["PROXY_CACHE_SIZE"],
    default: Some("1GiB"),
    accepts: "a size such as 0, 64KiB, 10MiB or 1GiB",
    help: "Disk space that the store may take; the least recently used goes first. 0 keeps nothing.",
    ..OF_STORE
};
pub(in crate::config) const STATE_DIR: Setting = Setting {
    names: &["PROXY_STATE_DIR"],
    accepts: "the path of a folder",
    help: "The folder of what must survive a restart: open requests, and what was sent lately. `propeller-proxy` in the user's or \
           system's folder for state if not given, or a temporary folder if that cannot be used.",
    ..OF_PROXY
};
pub(in crate::config) const TAG_MOVES: Setting = Setting {
    names: &["PROXY_TAG_MOVES"],
    default: Some("fresh"),
    accepts: "fresh or pinned",
    help: "What is sent when a tag moves while devices may have chunks of what it meant. `fresh`: the new module, in another number \
           of chunks. `pinned`: the old one, until nobody has asked for 7 min, or for 15 min.",
    ..OF_DELIVERY
};
pub(in crate::config) const MAX_REQUESTS: Setting = Setting {
    names: &["PROXY_MAX_REQUESTS"],
    default: Some("1024"),
    accepts: "1 to 1000000",
    help: "Requests that may be open at once; more are refused.",
    ..OF_DELIVERY
};
pub(in crate::config) const MAX_FETCHES: Setting = Setting {
    names: &["PROXY_MAX_FETCHES"],
    default: Some("8"),
    accepts: "1 to 64",
    help: "Fetches from registries at once.",
    ..OF_REGISTRY
};
pub(in crate::config) const MAX_IN_FLIGHT: Setting = Setting {
    names: &["PROXY_MAX_IN_FLIGHT"],
    default: Some("8MiB"),
    accepts: "a size over zero such as 64KiB or 8MiB",
    help: "Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is sent.",
    ..OF_DELIVERY
};
pub(in crate::config) const PUBLISH_RATE: Setting = Setting {
    names: &["PROXY_PUBLISH_RATE"],
    accepts: "a size over zero such as 64KiB or 2MB",
    help: "Bytes of messages a second that a channel gets; as many as the broker takes if not given.",
    ..OF_DELIVERY
};
pub(in crate::config) const MAX_REPEATS: Setting = Setting {
    names: &["PROXY_MAX_REPEATS"],
    default: Some("256MiB"),
    accepts: "a size such as 0, 64KiB or 256MiB",
    help: "Bytes of messages that a channel gets in any 6 min beyond the first copy of each app; more is refused.",
    ..OF_DELIVERY
};
pub(in crate::config) const MAX_PASSES: Setting = Setting {
    names: &["PROXY_MAX_PASSES"],
    default: Some("10"),
    accepts: "1 to 6000",
    help: "Times a minute that an app of 1 MiB or more is sent: two may follow at once, then requests wait and share one.",
    ..OF_DELIVERY
};
pub(in crate::config) const CHUNK_SIZE: Setting = Setting {
    names: &["PROXY_CHUNK_SIZE"],
    default: Some("512000"),
    accepts: "a size from 1 to 7800000 bytes, such as 512000 or 64KiB",
    help: "Bytes of module in one chunk. A message is a third larger, and at most 10 MiB for stock proplets.",
    ..OF_DELIVERY
};
