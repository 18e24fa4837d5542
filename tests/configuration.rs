//! The configuration by environment: every variable, alias, conflict and bad value; and the README's table of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use propeller_proxy::config::{Config, ConfigError, Credentials, LogLevel, SETTINGS, Scheme};
use secrecy::ExposeSecret as _;

use crate::support::daemon::Daemon;

/// The least that is needed, overlaid with `variables`.
fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let required = [("PROXY_DOMAIN_ID", "d"), ("PROXY_CHANNEL_ID", "c"), ("PROXY_REGISTRY_URL", "localhost:5000")];
    let environment: HashMap<_, _> = required.iter().chain(variables).copied().collect();
    Config::load(|name| environment.get(name).map(OsString::from))
}

fn problems(variables: &[(&str, &str)]) -> String {
    load(variables).expect_err("a configuration error").to_string()
}

#[test]
fn defaults() {
    let config = load(&[]).unwrap();
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.instance_id.len(), 36, "a UUID");
    assert_ne!(config.instance_id, load(&[]).unwrap().instance_id);
    assert_eq!(config.mqtt.address.to_string(), "mqtt://localhost:1883");
    assert_eq!(config.mqtt.timeout, Duration::from_secs(30));
    assert_eq!(config.mqtt.qos, 2);
    assert!(config.mqtt.login.is_none());
    assert!(matches!(config.registry_credentials, Credentials::Anonymous));
    assert_eq!(config.chunk_size.get(), 512_000);
}

/// Each row: variables, and what the configuration then is.
#[test]
fn every_variable_and_alias_is_read() {
    type Check = fn(&Config) -> bool;
    let rows: &[(&[(&str, &str)], Check)] = &[
        (&[("PROXY_LOG_LEVEL", "DEBUG")], |config| config.log_level == LogLevel::Debug),
        (&[("PROXY_LOG_LEVEL", "warn")], |config| config.log_level == LogLevel::Warn),
        (&[("PROXY_INSTANCE_ID", "proxy-1")], |config| config.instance_id == "proxy-1"),
        (&[("PROXY_MQTT_ADDRESS", "ssl://[::1]:8884")], |config| {
            (config.mqtt.address.host.as_str(), config.mqtt.address.port, config.mqtt.address.tls)
                == ("::1", 8884, true)
        }),
        (&[("PROXY_MQTT_ADDRESS", "broker")], |config| config.mqtt.address.to_string() == "mqtt://broker:1883"),
        (&[("PROXY_MQTT_TIMEOUT", "1m30s")], |config| config.mqtt.timeout == Duration::from_secs(90)),
        (&[("PROXY_MQTT_TIMEOUT", "500ms")], |config| config.mqtt.timeout == Duration::from_millis(500)),
        (&[("PROXY_MQTT_QOS", "0")], |config| config.mqtt.qos == 0),
        (&[("PROXY_DOMAIN_ID", ""), ("PROXY_TENANT_ID", "t")], |config| config.channel.domain == "t"),
        (&[("PROXY_TENANT_ID", "d")], |config| config.channel.domain == "d"),
        (&[("PROXY_CHANNEL_ID", "own"), ("PROPLET_CHANNEL_ID", "old")], |config| config.channel.id == "own"),
        (&[("PROXY_CHANNEL_ID", ""), ("PROPLET_CHANNEL_ID", "old")], |config| config.channel.id == "old"),
        (&[("PROXY_CLIENT_ID", "id"), ("PROXY_CLIENT_KEY", "007")], |config| is_login(config, "id", "007")),
        (&[("PROXY_ENTITY_ID", "id"), ("PROXY_API_KEY", "key")], |config| is_login(config, "id", "key")),
        (&[("PROPLET_THING_ID", "id"), ("PROPLET_THING_KEY", "key")], |config| is_login(config, "id", "key")),
        (&[("PROXY_CLIENT_ID", "id"), ("PROPLET_THING_ID", "old"), ("PROPLET_THING_KEY", "key")], |config| {
            is_login(config, "id", "key")
        }),
        (&[("PROXY_CLIENT_ID", ""), ("PROXY_CLIENT_KEY", "")], |config| config.mqtt.login.is_none()),
        (&[("PROXY_REGISTRY_URL", "http://registry:5000/acme")], |config| {
            config.registry_url.scheme == Scheme::Http && config.registry_url.to_string() == "registry:5000/acme"
        }),
        (&[("PROXY_REGISTRY_USERNAME", "ada"), ("PROXY_REGISTRY_PASSWORD", "pw")], |config| {
            matches!(config.registry_credentials, Credentials::Anonymous)
        }),
        (
            &[("PROXY_AUTHENTICATE", "TRUE"), ("PROXY_REGISTRY_USERNAME", "ada"), ("PROXY_REGISTRY_PASSWORD", "007")],
            |config| match &config.registry_credentials {
                Credentials::Basic { username, password } => username == "ada" && password.expose_secret() == "007",
                _ => false,
            },
        ),
        (&[("PROXY_AUTHENTICATE", "t"), ("PROXY_REGISTRY_TOKEN", "tok")], |config| {
            match &config.registry_credentials {
                Credentials::Token(token) => token.expose_secret() == "tok",
                _ => false,
            }
        }),
        (&[("PROXY_CHUNK_SIZE", "1")], |config| config.chunk_size.get() == 1),
        (&[("PROXY_CHUNK_SIZE", "7800000")], |config| config.chunk_size.get() == 7_800_000),
    ];
    for (variables, check) in rows {
        let config = load(variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
        assert!(check(&config), "{variables:?}: {config:?}");
    }
}

fn is_login(config: &Config, username: &str, password: &str) -> bool {
    let login = config.mqtt.login.as_ref();
    login.is_some_and(|login| login.username == username && login.password.expose_secret() == password)
}

#[test]
fn booleans_are_those_of_go() {
    let given = |text| load(&[("PROXY_AUTHENTICATE", text), ("PROXY_REGISTRY_TOKEN", "tok")]);
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert!(matches!(given(text).unwrap().registry_credentials, Credentials::Token(_)), "{text}");
    }
    for text in ["0", "f", "F", "FALSE", "false", "False", ""] {
        assert!(matches!(given(text).unwrap().registry_credentials, Credentials::Anonymous), "{text}");
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
        ("PROXY_DOMAIN_ID", "+", "is \"+\""),
        ("PROXY_CHANNEL_ID", "a#", "is \"a#\""),
        ("PROXY_CHANNEL_ID", "a\u{7f}", "is \"a\\u{7f}\""),
        ("PROPLET_CHANNEL_ID", "x", ""),
        ("PROXY_REGISTRY_URL", "ftp://r", "is \"ftp://r\"; give host, host:port"),
        ("PROXY_REGISTRY_URL", "http://:5000", "is \"http://:5000\""),
        ("PROXY_AUTHENTICATE", "yes", "is \"yes\"; give 1, t, T, TRUE"),
        ("PROXY_AUTHENTICATE", "true", "is true without credentials; give PROXY_REGISTRY_USERNAME and"),
        ("PROXY_REGISTRY_USERNAME", "a:b", "is \"a:b\""),
        ("PROXY_CHUNK_SIZE", "0", "is \"0\"; give 1 to 7800000 bytes"),
        ("PROXY_CHUNK_SIZE", "-1", "is \"-1\""),
        ("PROXY_CHUNK_SIZE", "7800001", "is \"7800001\""),
        ("PROXY_CHUNK_SIZE", "512k", "is \"512k\""),
    ] {
        let message = load(&[(name, value)]).err().map(|error| error.to_string()).unwrap_or_default();
        if said.is_empty() {
            assert_eq!(message, "", "an old name beside a good new one");
        } else {
            assert!(message.contains(&format!("{name} {said}")), "{name}={value}: {message}");
        }
    }
}

#[test]
fn old_names_are_checked_under_their_own_name() {
    let message = problems(&[("PROXY_CHANNEL_ID", ""), ("PROPLET_CHANNEL_ID", "a/b")]);
    assert!(message.contains("PROPLET_CHANNEL_ID is \"a/b\""), "{message}");
}

#[test]
fn secrets_are_never_shown() {
    for (name, value) in [("PROXY_REGISTRY_PASSWORD", "canary\n"), ("PROXY_REGISTRY_TOKEN", "canary token")] {
        let message = problems(&[(name, value)]);
        assert!(message.contains(name) && !message.contains("canary"), "{message}");
    }
    for (name, value, shown) in [
        ("PROXY_MQTT_ADDRESS", "tcp://user:canary@broker:1883", "tcp://***@broker:1883"),
        ("PROXY_MQTT_ADDRESS", "user:canary@broker", "***@broker"),
        ("PROXY_REGISTRY_URL", "https://user:can@ry@host", "https://***@host"),
    ] {
        let message = problems(&[(name, value)]);
        assert!(message.contains(&format!("{name} is \"{shown}\"")), "{message}");
    }
    let conflict =
        problems(&[("PROXY_CLIENT_ID", "id"), ("PROXY_CLIENT_KEY", "canary-1"), ("PROXY_API_KEY", "canary-2")]);
    assert!(!conflict.contains("canary"), "{conflict}");
    let config = load(&[
        ("PROXY_CLIENT_ID", "id"),
        ("PROXY_CLIENT_KEY", "canary"),
        ("PROXY_AUTHENTICATE", "1"),
        ("PROXY_REGISTRY_TOKEN", "canary"),
    ]);
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn names_of_one_thing_must_agree() {
    for (first, second, partner) in [
        ("PROXY_DOMAIN_ID", "PROXY_TENANT_ID", None),
        ("PROXY_CLIENT_ID", "PROXY_ENTITY_ID", Some("PROXY_CLIENT_KEY")),
        ("PROXY_CLIENT_KEY", "PROXY_API_KEY", Some("PROXY_CLIENT_ID")),
    ] {
        let mut variables = vec![(first, "one"), (second, "other")];
        variables.extend(partner.map(|name| (name, "partner")));
        let message = problems(&variables);
        assert!(message.contains("the configuration has 1 problem:"), "{message}");
        assert!(message.contains(&format!("{first} and {second} mean the same")), "{message}");
        variables[1].1 = "one";
        assert!(load(&variables).is_ok());
    }
}

#[test]
fn half_a_pair_is_a_problem() {
    for (given, missing) in [
        ("PROXY_CLIENT_ID", "PROXY_CLIENT_KEY"),
        ("PROXY_ENTITY_ID", "PROXY_CLIENT_KEY"),
        ("PROXY_API_KEY", "PROXY_CLIENT_ID"),
        ("PROPLET_THING_KEY", "PROXY_CLIENT_ID"),
    ] {
        let message = problems(&[(given, "x")]);
        assert!(message.contains(&format!("{missing} is missing")), "{message}");
        assert!(message.contains(&format!("or leave {given} out")), "{message}");
    }
    let message = problems(&[("PROXY_AUTHENTICATE", "1"), ("PROXY_REGISTRY_USERNAME", "ada")]);
    assert!(message.contains("PROXY_REGISTRY_PASSWORD is missing"), "{message}");
}

#[test]
fn a_value_that_is_not_text_is_a_problem_of_its_own() {
    for (name, shown) in [("PROXY_DOMAIN_ID", "\"d\u{fffd}\", not UTF-8"), ("PROXY_CLIENT_KEY", "not UTF-8")] {
        let error = Config::load(|asked| match asked {
            _ if asked == name => Some(OsString::from_vec(b"d\xff".to_vec())),
            "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" | "PROXY_CLIENT_ID" | "PROXY_CLIENT_KEY" => Some("x".into()),
            "PROXY_REGISTRY_URL" => Some("localhost".into()),
            _ => None,
        });
        let message = error.expect_err("a configuration error").to_string();
        assert!(message.contains("1 problem") && message.contains(&format!("{name} is {shown}")), "{message}");
    }
}

/// The process reports everything at once, opens nothing, and ends with `EX_CONFIG`.
#[tokio::test]
async fn the_daemon_reports_every_problem_and_ends_with_78() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    let address = listener.local_addr().expect("its address");
    let variables = [
        ("PROXY_MQTT_QOS", "3".to_owned()),
        ("PROXY_CHUNK_SIZE", "0".to_owned()),
        ("PROXY_CHANNEL_ID", "a/b".to_owned()),
        ("PROXY_MQTT_ADDRESS", format!("tcp://{address}")),
    ];
    let mut daemon = Daemon::spawn(&variables);
    assert_eq!(daemon.ended().await.code(), Some(78));
    daemon.logged("PROXY_CHUNK_SIZE is").await;
    let log = daemon.log();
    assert!(log.starts_with("error: the configuration has 5 problems:"), "{log}");
    for name in ["PROXY_MQTT_QOS", "PROXY_CHUNK_SIZE", "PROXY_CHANNEL_ID", "PROXY_DOMAIN_ID", "PROXY_REGISTRY_URL"] {
        assert!(log.contains(name), "{log}");
    }
    let nobody = listener.accept().expect_err("no connection");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
}

/// The README's table has a row for each setting: its names, its default, its help.
#[test]
fn the_readme_lists_every_setting() {
    let readme = include_str!("../README.md");
    for setting in SETTINGS {
        let names: Vec<_> = setting.names.iter().chain(setting.old_names).map(|name| format!("`{name}`")).collect();
        let default = setting.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let row = format!("| {} | {default} | {} |", names.join(", "), setting.help);
        assert!(readme.contains(&row), "the README has no row\n{row}");
    }
}

/// `docs/errors.md` lists every error code and no other.
#[test]
fn the_docs_list_every_error_code() {
    let docs = include_str!("../docs/errors.md");
    let listed: Vec<_> = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, propeller_proxy::error::Error::CODES);
}
