//! Which values a setting takes: booleans, bad values and what is accepted instead, and values on a bound.

use propeller_proxy::config::SETTINGS;
use propeller_proxy::oci::options::Credentials;

use super::{load, problems};

#[test]
fn booleans_are_those_of_go() {
    let given = |text| load(&[("PROXY_AUTHENTICATE", text), ("PROXY_REGISTRY_TOKEN", "tok")]);
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert!(matches!(given(text).unwrap().registry.credentials, Credentials::Token(_)), "{text}");
    }
    for text in ["0", "f", "F", "FALSE", "false", "False", ""] {
        assert!(matches!(given(text).unwrap().registry.credentials, Credentials::Anonymous), "{text}");
    }
    for text in ["yes", "on", "tRUE", "2"] {
        assert!(given(text).is_err(), "{text}");
    }
}

/// Each row: a variable, a bad value, and what the message says of it beside the variable.
#[test]
fn bad_values_are_named_with_what_is_accepted() {
    for (name, value, said) in [
        ("PROXY_LOG_LEVEL", "loud", "is \"loud\"; give trace, debug, info, warn or error"),
        ("PROXY_INSTANCE_ID", "a/b", "is \"a/b\"; give an id without / + # and control characters"),
        ("PROXY_MQTT_ADDRESS", "http://broker", "is \"http://broker\"; give host, host:port"),
        ("PROXY_MQTT_ADDRESS", "tcp://broker:99999", "is \"tcp://broker:99999\""),
        ("PROXY_MQTT_TIMEOUT", "30", "is \"30\"; give a duration over zero such as 30s, 1m30s or 500ms"),
        ("PROXY_MQTT_TIMEOUT", "0s", "is \"0s\""),
        ("PROXY_MQTT_TIMEOUT", "-5s", "is \"-5s\""),
        ("PROXY_MQTT_QOS", "3", "is \"3\"; give 0, 1 or 2"),
        ("PROXY_MQTT_QOS", "two", "is \"two\""),
        ("PROXY_DOMAIN_ID", "a/b", "is \"a/b\""),
        ("PROXY_DOMAIN_ID", "a+", "is \"a+\""),
        ("PROXY_CHANNEL_ID", "a#", "is \"a#\""),
        ("PROXY_CHANNEL_ID", "a,", "is \"a,\""),
        ("PROXY_CHANNEL_ID", "a,b/c", "is \"a,b/c\""),
        ("PROXY_CHANNEL_ID", "a,+", "is \"a,+\""),
        ("PROXY_CHANNEL_ID", "a\u{7f}", "is \"a\\u{7f}\""),
        ("PROPLET_CHANNEL_ID", "x", ""),
        ("PROXY_REGISTRY_URL", "ftp://r", "is \"ftp://r\"; give host, host:port"),
        ("PROXY_REGISTRY_URL", "http://:5000", "is \"http://:5000\""),
        ("PROXY_AUTHENTICATE", "yes", "is \"yes\"; give 1, t, T, TRUE"),
        ("PROXY_AUTHENTICATE", "true", "is true without credentials; give PROXY_REGISTRY_USERNAME and"),
        ("PROXY_REGISTRY_USERNAME", "a:b", "is \"a:b\""),
        ("PROXY_REGISTRY_AUTH_FILE", "/nowhere", ""),
        ("PROXY_REGISTRY_ALLOW", "ghcr.io,", "is \"ghcr.io,\"; give a comma-separated list of"),
        ("PROXY_REGISTRY_ALLOW", "ghcr.io/acme*", "is \"ghcr.io/acme*\""),
        (
            "PROXY_REGISTRY_TOKEN_SERVICES",
            "auth.example",
            "is \"auth.example\"; give a comma-separated list of registry=",
        ),
        ("PROXY_REGISTRY_MIRRORS", "mirror:5000", "is \"mirror:5000\"; give a comma-separated list of registry="),
        ("PROXY_REGISTRY_CA_CERT", "/nowhere", "is \"/nowhere\", which cannot be read: No such file"),
        ("PROXY_REGISTRY_CLIENT_CERT", "/dev/null", "is \"/dev/null\", which has no certificate in PEM; give the path"),
        ("PROXY_REGISTRY_CLIENT_KEY", "/dev/null", "is \"/dev/null\", which has no private key that can be used; give"),
        ("PROXY_VERIFY_KEY", "/dev/null", "is \"/dev/null\", which has no public key in PEM; give public keys"),
        (
            "PROXY_VERIFY_KEY",
            "-----BEGIN CERTIFICATE-----",
            "is a PEM text, which has no public key in PEM; give public keys",
        ),
        ("PROXY_PULL_POLICY", "sometimes", "is \"sometimes\"; give always, if-not-present or never"),
        ("PROXY_TAG_TTL", "60", "is \"60\"; give a duration such as"),
        ("PROXY_FETCH_TIMEOUT", "0s", "is \"0s\"; give a duration over zero"),
        ("PROXY_MAX_MODULE_SIZE", "0", "is \"0\"; give a size over zero"),
        ("PROXY_MAX_MODULE_SIZE", "1 gib", "is \"1 gib\""),
        ("PROXY_CACHE_SIZE", "-1", "is \"-1\"; give a size such as"),
        ("PROXY_CHUNK_SIZE", "0", "is \"0\"; give a size from 1 to 7800000 bytes, such as 512000 or 64KiB"),
        ("PROXY_CHUNK_SIZE", "-1", "is \"-1\""),
        ("PROXY_CHUNK_SIZE", "7800001", "is \"7800001\""),
        ("PROXY_CHUNK_SIZE", "512k", "is \"512k\""),
        ("PROXY_SHARE_GROUP", "a/b", "is \"a/b\"; give an id"),
        ("PROXY_TAG_MOVES", "sometimes", "is \"sometimes\"; give fresh or pinned"),
        ("PROXY_MAX_REQUESTS", "0", "is \"0\"; give 1 to 1000000"),
        ("PROXY_MAX_REQUESTS", "1000001", "is \"1000001\""),
        ("PROXY_MAX_REQUESTS", "-1", "is \"-1\""),
        ("PROXY_MAX_FETCHES", "0", "is \"0\"; give 1 to 64"),
        ("PROXY_MAX_FETCHES", "65", "is \"65\""),
        ("PROXY_MAX_IN_FLIGHT", "0", "is \"0\"; give a size over zero"),
        ("PROXY_MAX_IN_FLIGHT", "8M", "is \"8M\""),
        ("PROXY_PUBLISH_RATE", "0", "is \"0\"; give a size over zero"),
        ("PROXY_PUBLISH_RATE", "1MiB/s", "is \"1MiB/s\""),
        ("PROXY_MAX_REPEATS", "-1", "is \"-1\"; give a size"),
        ("PROXY_MAX_REPEATS", "much", "is \"much\""),
        ("PROXY_MAX_PASSES", "0", "is \"0\"; give 1 to 6000"),
        ("PROXY_MAX_PASSES", "6001", "is \"6001\""),
    ] {
        let message = load(&[(name, value)]).err().map(|error| error.to_string()).unwrap_or_default();
        if said.is_empty() {
            assert_eq!(message, "", "{name}: what is not looked at cannot be wrong");
        } else {
            assert!(message.contains(&format!("{name} {said}")), "{name}={value}: {message}");
        }
    }
}

#[test]
fn bounds_have_their_defaults() {
    for (name, default) in [
        ("PROXY_SHARE_GROUP", None),
        ("PROXY_TAG_MOVES", Some("fresh")),
        ("PROXY_MAX_REQUESTS", Some("4096")),
        ("PROXY_MAX_FETCHES", Some("8")),
        ("PROXY_MAX_IN_FLIGHT", Some("8MiB")),
        ("PROXY_PUBLISH_RATE", None),
        ("PROXY_MAX_REPEATS", None),
        ("PROXY_MAX_PASSES", Some("10")),
    ] {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        assert_eq!(setting.unwrap_or_else(|| panic!("{name} is no setting")).default, default, "{name}");
    }
}

/// What lies on a bound is within it.
#[test]
fn values_on_a_bound_are_accepted() {
    for (name, value) in [
        ("PROXY_DOMAIN_ID", "+"),
        ("PROXY_CHANNEL_ID", "+"),
        ("PROXY_CHANNEL_ID", "a,b"),
        ("PROXY_SHARE_GROUP", "replicas"),
        ("PROXY_TAG_MOVES", "pinned"),
        ("PROXY_MAX_REQUESTS", "1"),
        ("PROXY_MAX_REQUESTS", "1000000"),
        ("PROXY_MAX_FETCHES", "1"),
        ("PROXY_MAX_FETCHES", "64"),
        ("PROXY_MAX_IN_FLIGHT", "1"),
        ("PROXY_PUBLISH_RATE", "1"),
        ("PROXY_PUBLISH_RATE", "10MiB"),
        ("PROXY_MAX_REPEATS", "0"),
        ("PROXY_MAX_PASSES", "1"),
        ("PROXY_MAX_PASSES", "6000"),
    ] {
        assert!(load(&[(name, value)]).is_ok(), "{name}={value}: {}", problems(&[(name, value)]));
    }
}
