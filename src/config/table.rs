//! The settings of the core: what each is called, accepts and does, and how its values are parsed.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::values::pem::{self, Certificates, PrivateKey, PublicKeys};
use super::values::units::{boolean, duration, positive_duration, positive_size, size};
use super::values::{
    LogLevel, chunk_size, count, from_str, level_or_any, levels_or_any, list, log_level, memory_size, passes,
    printable_secret, qos, rate, tag_moves, token, topic_level, username,
};
use crate::delivery::rules::versions::TagMoves;
use crate::mqtt::BrokerAddress;
use crate::oci::host::RegistryUrl;
use crate::oci::options::{Mirror, Permission, PullPolicy, TokenService};
use crate::settings;

const ID: &str = "an id without / + # and control characters";

settings! {
    Proxy {
        INSTANCE_ID: String = "PROXY_INSTANCE_ID", parse topic_level,
            accepts ID,
            help "Names this proxy on the status and presence topics, and begins its MQTT client identifiers; a random \
                  UUID, kept in the state folder, if not given.";

        EXACT_CLIENT_ID: bool = "PROXY_EXACT_CLIENT_ID", parse boolean, default Some("false"),
            accepts "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
            help "Whether the MQTT client identifiers are the instance id and nothing secret, for brokers whose policies \
                  name them. Whoever may connect with such an identifier can then disconnect this proxy.";

        STATE_DIR: PathBuf = "PROXY_STATE_DIR", parse from_str,
            accepts "the path of a folder",
            help "The folder of what must survive a restart: open requests, and what was sent lately. \
                  `propeller-proxy` in the user's or system's folder for state if not given, or a temporary folder if \
                  that cannot be written to.";

        SHARE_GROUP: String = "PROXY_SHARE_GROUP", parse topic_level,
            accepts ID,
            help "Replicas that name the same group divide the requests among themselves. Each needs an instance id \
                  and a state folder of its own.";

        LOG_LEVEL: LogLevel = "PROXY_LOG_LEVEL", parse log_level, default Some("info"),
            accepts "trace, debug, info, warn or error",
            help "Least severe level of the log.";
    }

    Broker {
        MQTT_ADDRESS: BrokerAddress = "PROXY_MQTT_ADDRESS", parse from_str, default Some("tcp://localhost:1883"),
            accepts "host, host:port, or a URL with tcp, mqtt, ssl, tls, mqtts, ws or wss; IPv6 in brackets; a path \
                  with ws and wss only; no user or query",
            help "The MQTT broker; ssl, tls and mqtts use TLS, ws and wss WebSockets. Ports default to 1883, 8883, 80 \
                  and 443.";

        MQTT_TIMEOUT: Duration = "PROXY_MQTT_TIMEOUT", parse positive_duration, default Some("30s"),
            accepts "a duration over zero such as 30s, 1m30s or 500ms",
            help "How long connecting to the broker may take.";

        MQTT_QOS: u8 = "PROXY_MQTT_QOS", parse qos, default Some("2"),
            accepts "0, 1 or 2",
            help "Quality of service of chunks. Requests are subscribed to at QoS 1.";

        CLIENT_ID: String = "PROXY_CLIENT_ID", parse topic_level,
            alias Some("PROXY_ENTITY_ID"), old_name Some("PROPLET_THING_ID"),
            accepts ID,
            help "MQTT user name; leave both it and the key out for a broker that admits anybody.";

        CLIENT_KEY: SecretString = "PROXY_CLIENT_KEY", parse |text: &str| Some(SecretString::from(text)),
            alias Some("PROXY_API_KEY"), old_name Some("PROPLET_THING_KEY"), is_secret true,
            accepts "the password that goes with the client id",
            help "MQTT password.";

        MQTT_TLS_CA_CERT: Certificates = "PROXY_MQTT_TLS_CA_CERT", parse pem::certificates,
            old_name Some("PROXY_MQTT_CA_PATH"),
            accepts "the path of a file with certificates in PEM",
            help "Certificate authorities that are trusted beside the system's, for the broker.";

        MQTT_TLS_CLIENT_CERT: Certificates = "PROXY_MQTT_TLS_CLIENT_CERT", parse pem::certificates,
            old_name Some("PROXY_MQTT_CERT_PATH"),
            accepts "the path of a file with a certificate, and its chain if any, in PEM",
            help "Client certificate, shown to the broker.";

        MQTT_TLS_CLIENT_KEY: PrivateKey = "PROXY_MQTT_TLS_CLIENT_KEY", parse pem::private_key,
            old_name Some("PROXY_MQTT_KEY_PATH"),
            accepts "the path of a file with the certificate's private key in PEM",
            help "The private key of the client certificate.";

        MQTT_TLS_INSECURE_SKIP_VERIFY: bool = "PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY", parse boolean,
            default Some("false"),
            accepts "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
            help "Whether any certificate of the broker is taken: whoever is between can then read and change \
                  everything. For experiments only.";
    }

    Channels {
        DOMAIN_ID: String = "PROXY_DOMAIN_ID", parse level_or_any, alias Some("PROXY_TENANT_ID"),
            accepts "an id without / + # and control characters, or + for every domain",
            help "The domain (later: tenant) of the channels. Required.";

        CHANNEL_ID: Vec<String> = "PROXY_CHANNEL_ID", parse levels_or_any, old_name Some("PROPLET_CHANNEL_ID"),
            accepts "ids without / + # and control characters, with commas between, or + for every channel",
            help "The channels on which devices ask and are answered. Required.";
    }

    Registry {
        REGISTRY_URL: RegistryUrl = "PROXY_REGISTRY_URL", parse from_str,
            accepts "host, host:port, or either after http:// or https://, with a repository prefix if wanted; no \
                  user or query",
            help "The OCI registry that modules come from. Without a scheme: https, but http for loopback hosts. \
                  Required.";

        AUTHENTICATE: bool = "PROXY_AUTHENTICATE", parse boolean, default Some("false"),
            accepts "1, t, T, TRUE, true, True, 0, f, F, FALSE, false or False",
            help "Whether registries are given credentials: those below, and those of the docker configuration file.";

        REGISTRY_USERNAME: String = "PROXY_REGISTRY_USERNAME", parse username,
            accepts "a user name without colon and control characters",
            help "User name for the configured registry.";

        REGISTRY_PASSWORD: SecretString = "PROXY_REGISTRY_PASSWORD", parse printable_secret, is_secret true,
            accepts "the password that goes with the user name, without control characters",
            help "Password for the configured registry.";

        REGISTRY_TOKEN: SecretString = "PROXY_REGISTRY_TOKEN", parse token, is_secret true,
            accepts "a bearer token: printable ASCII without spaces",
            help "Bearer token for the configured registry, used where no user name and password are given.";

        REGISTRY_IDENTITY_TOKEN: SecretString = "PROXY_REGISTRY_IDENTITY_TOKEN", parse token, is_secret true,
            accepts "an OAuth2 refresh token: printable ASCII without spaces",
            help "OAuth2 refresh (identity) token, which a token service exchanges for access tokens.";

        REGISTRY_AUTH_FILE: PathBuf = "PROXY_REGISTRY_AUTH_FILE", parse from_str,
            accepts "the path of a docker configuration file in JSON",
            help "Docker configuration file with credentials for any number of registries; `config.json` in the \
                  folder `DOCKER_CONFIG`, or else in `~/.docker`, if not given. Read where PROXY_AUTHENTICATE is \
                  true.";

        REGISTRY_ALLOW: Vec<Permission> = "PROXY_REGISTRY_ALLOW", parse list,
            accepts "a comma-separated list of [http://]host[:port][/repository or /prefix/*], or * for any public \
                  registry",
            help "What requests may name beside the configured registry. Entries for its own host restrict that.";

        REGISTRY_TOKEN_SERVICES: Vec<TokenService> = "PROXY_REGISTRY_TOKEN_SERVICES", parse list,
            accepts "a comma-separated list of registry=host[:port]",
            help "Token services that are trusted though they are on another host or port than their registry.";

        REGISTRY_MIRRORS: Vec<Mirror> = "PROXY_REGISTRY_MIRRORS", parse list,
            accepts "a comma-separated list of registry=[http://]host[:port][/prefix]",
            help "Mirrors of registries, asked in this order before the registry itself.";

        REGISTRY_CA_CERT: Certificates = "PROXY_REGISTRY_CA_CERT", parse pem::certificates,
            accepts "the path of a file with certificates in PEM",
            help "Certificate authorities that are trusted beside the system's, for all registries.";

        REGISTRY_CLIENT_CERT: Certificates = "PROXY_REGISTRY_CLIENT_CERT", parse pem::certificates,
            accepts "the path of a file with a certificate, and its chain if any, in PEM",
            help "Client certificate, shown to the configured registry only.";

        REGISTRY_CLIENT_KEY: PrivateKey = "PROXY_REGISTRY_CLIENT_KEY", parse pem::private_key,
            accepts "the path of a file with the certificate's private key in PEM",
            help "The private key of the client certificate.";

        VERIFY_KEY: PublicKeys = "PROXY_VERIFY_KEY", parse pem::public_keys,
            accepts "public keys (ECDSA P-256 or P-384, Ed25519, RSA) in PEM, or a comma-separated list of paths of \
                  such files",
            help "Public keys; only modules with a cosign signature by one of them are delivered.";

        PULL_POLICY: PullPolicy = "PROXY_PULL_POLICY", parse from_str, default Some("if-not-present"),
            accepts "always, if-not-present or never",
            help "`always`: the registry confirms every request. `if-not-present`: known digests come from the store, \
                  and known tags if the registry cannot be reached. `never`: the store only.";

        TAG_TTL: Duration = "PROXY_TAG_TTL", parse duration, default Some("0s"),
            accepts "a duration such as 0s, 30s or 1h",
            help "How long the digest behind a tag is believed before the registry is asked again.";

        FETCH_TIMEOUT: Duration = "PROXY_FETCH_TIMEOUT", parse positive_duration, default Some("5m"),
            accepts "a duration over zero such as 90s or 5m",
            help "How long finding and fetching one module may take, waiting for its turn included.";

        MAX_MODULE_SIZE: u64 = "PROXY_MAX_MODULE_SIZE", parse positive_size, default Some("1GiB"),
            accepts "a size over zero such as 1000000, 64KiB, 10MiB or 1GiB",
            help "Largest module, and largest layer before and after it is unpacked.";

        MAX_FETCHES: usize = "PROXY_MAX_FETCHES", parse count::<64>, default Some("8"),
            accepts "1 to 64",
            help "Lookups, and downloads, at once from each registry; a channel that has none there gets one beyond.";
    }

    Store {
        CACHE_DIR: PathBuf = "PROXY_CACHE_DIR", parse from_str,
            accepts "the path of a folder",
            help "The folder of the store; `propeller-proxy` in the user's or system's folder for caches if not \
                  given, or a temporary folder if that cannot be used.";

        CACHE_SIZE: u64 = "PROXY_CACHE_SIZE", parse size, default Some("1GiB"),
            accepts "a size such as 0, 64KiB, 10MiB or 1GiB",
            help "Disk space that the store may take; the least recently used goes first. 0 keeps nothing.";
    }

    Delivery {
        TAG_MOVES: TagMoves = "PROXY_TAG_MOVES", parse tag_moves, default Some("fresh"),
            accepts "fresh or pinned",
            help "What is sent when a tag moves while devices may have chunks of what it meant. `fresh`: the new \
                  module, in another number of chunks. `pinned`: the old one, until nobody has asked for 7 min, or \
                  for 15 min.";

        MAX_REQUESTS: usize = "PROXY_MAX_REQUESTS", parse count::<1_000_000>, default Some("4096"),
            accepts "1 to 1000000",
            help "Requests that may be open at once, of one channel eight ninths at most; more are refused.";

        MAX_IN_FLIGHT: usize = "PROXY_MAX_IN_FLIGHT", parse memory_size, default Some("8MiB"),
            accepts "a size over zero such as 64KiB or 8MiB",
            help "Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is \
                  sent.";

        PUBLISH_RATE: NonZeroU64 = "PROXY_PUBLISH_RATE", parse rate,
            accepts "a size over zero such as 64KiB or 2MB",
            help "Bytes of messages a second that a channel gets; as many as the broker takes if not given.";

        MAX_REPEATS: u64 = "PROXY_MAX_REPEATS", parse size,
            accepts "a size such as 0, 64KiB or 256MiB",
            help "Bytes of messages that a channel gets in any 6 min beyond the first copy of each module; more is \
                  refused. Nothing is refused if not given.";

        MAX_PASSES: NonZeroU32 = "PROXY_MAX_PASSES", parse passes, default Some("10"),
            accepts "1 to 6000",
            help "Times a minute that an app of 1 MiB or more is sent: two may follow at once, then requests wait and \
                  share one.";

        CHUNK_SIZE: NonZeroU32 = "PROXY_CHUNK_SIZE", parse chunk_size, default Some("512000"),
            accepts "a size from 1 to 7800000 bytes, such as 512000 or 64KiB",
            help "Bytes of module in one chunk. A message is a third larger, and at most 10 MiB for stock proplets.";
    }
}
