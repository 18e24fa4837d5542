//! The configuration by environment: every variable, alias, conflict and bad value; and the README's table of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use propeller_proxy::config::{self, ConfigError, LogLevel, Sources};
use propeller_proxy::oci::host::Scheme;
use propeller_proxy::oci::options::{Credentials, PullPolicy};
use propeller_proxy::service::ServiceOptions;
use secrecy::ExposeSecret as _;

mod values;

use crate::support::clients::daemon::Daemon;
use crate::support::{generated, pages};

/// The least that is needed, overlaid with `variables`.
fn load(variables: &[(&str, &str)]) -> Result<ServiceOptions, ConfigError> {
    load_with_level(variables).map(|(config, _)| config)
}

fn load_with_level(variables: &[(&str, &str)]) -> Result<(ServiceOptions, LogLevel), ConfigError> {
    let required = [("PROXY_DOMAIN_ID", "d"), ("PROXY_CHANNEL_ID", "c"), ("PROXY_REGISTRY_URL", "localhost:5000")];
    let environment: HashMap<_, _> = required.iter().chain(variables).copied().collect();
    config::load(&Sources::of_variables(|name| environment.get(name).map(OsString::from)))
}

fn problems(variables: &[(&str, &str)]) -> String {
    load(variables).expect_err("a configuration error").to_string()
}

#[test]
fn defaults() {
    let (config, log_level) = load_with_level(&[]).unwrap();
    assert_eq!(log_level, LogLevel::INFO);
    assert_eq!(config.instance_id, None, "one is made up and kept in the state folder");
    assert!(!config.has_exact_client_id);
    assert_eq!(config.mqtt.address.to_string(), "mqtt://localhost:1883");
    assert_eq!(config.mqtt.timeout, Duration::from_secs(30));
    assert_eq!(config.mqtt.qos, 2);
    assert!(config.mqtt.login.is_none());
    assert!(matches!(config.registry.credentials, Credentials::Anonymous));
    assert_eq!(config.delivery.chunk_size.get(), 512_000);
    let registry = &config.registry;
    assert!(registry.allow.is_empty() && registry.token_services.is_empty() && registry.mirrors.is_empty());
    assert!(registry.auth_file.is_none() && registry.client_identity.is_none() && registry.verify_keys.is_empty());
    assert_eq!(registry.pull_policy, PullPolicy::IfNotPresent);
    assert_eq!((registry.tag_ttl, registry.fetch_timeout), (Duration::ZERO, Duration::from_secs(300)));
    assert_eq!((registry.max_module_size, config.store.limit), (1 << 30, 1 << 30));
}

/// Each row: variables, and what the configuration then is.
#[test]
fn every_variable_and_alias_is_read() {
    type Check = fn(&ServiceOptions) -> bool;
    let rows: &[(&[(&str, &str)], Check)] = &[
        (&[("PROXY_INSTANCE_ID", "proxy-1")], |config| config.instance_id.as_deref() == Some("proxy-1")),
        (&[("PROXY_EXACT_CLIENT_ID", "true")], |config| config.has_exact_client_id),
        (&[("PROXY_MQTT_ADDRESS", "ssl://[::1]:8884")], |config| {
            (config.mqtt.address.host.as_str(), config.mqtt.address.port, config.mqtt.address.tls)
                == ("::1", 8884, true)
        }),
        (&[("PROXY_MQTT_ADDRESS", "broker")], |config| config.mqtt.address.to_string() == "mqtt://broker:1883"),
        (&[("PROXY_MQTT_TIMEOUT", "1m30s")], |config| config.mqtt.timeout == Duration::from_secs(90)),
        (&[("PROXY_MQTT_TIMEOUT", "500ms")], |config| config.mqtt.timeout == Duration::from_millis(500)),
        (&[("PROXY_MQTT_QOS", "0")], |config| config.mqtt.qos == 0),
        (&[("PROXY_DOMAIN_ID", ""), ("PROXY_TENANT_ID", "t")], |config| config.channels.domain == "t"),
        (&[("PROXY_TENANT_ID", "d")], |config| config.channels.domain == "d"),
        (&[("PROXY_CHANNEL_ID", "own"), ("PROPLET_CHANNEL_ID", "old")], |config| config.channels.ids == ["own"]),
        (&[("PROXY_CHANNEL_ID", ""), ("PROPLET_CHANNEL_ID", "old")], |config| config.channels.ids == ["old"]),
        (&[("PROXY_CLIENT_ID", "id"), ("PROXY_CLIENT_KEY", "007")], |config| is_login(config, "id", "007")),
        (&[("PROXY_ENTITY_ID", "id"), ("PROXY_API_KEY", "key")], |config| is_login(config, "id", "key")),
        (&[("PROPLET_THING_ID", "id"), ("PROPLET_THING_KEY", "key")], |config| is_login(config, "id", "key")),
        (&[("PROXY_CLIENT_ID", "id"), ("PROPLET_THING_ID", "old"), ("PROPLET_THING_KEY", "key")], |config| {
            is_login(config, "id", "key")
        }),
        (&[("PROXY_CLIENT_ID", ""), ("PROXY_CLIENT_KEY", "")], |config| config.mqtt.login.is_none()),
        (&[("PROXY_REGISTRY_URL", "http://registry:5000/acme")], |config| {
            config.registry.url.scheme == Scheme::Http && config.registry.url.to_string() == "registry:5000/acme"
        }),
        (&[("PROXY_REGISTRY_USERNAME", "ada"), ("PROXY_REGISTRY_PASSWORD", "pw")], |config| {
            matches!(config.registry.credentials, Credentials::Anonymous)
        }),
        (
            &[("PROXY_AUTHENTICATE", "TRUE"), ("PROXY_REGISTRY_USERNAME", "ada"), ("PROXY_REGISTRY_PASSWORD", "007")],
            |config| match &config.registry.credentials {
                Credentials::Basic { username, password } => username == "ada" && password.expose_secret() == "007",
                _ => false,
            },
        ),
        (&[("PROXY_AUTHENTICATE", "t"), ("PROXY_REGISTRY_TOKEN", "tok")], |config| {
            match &config.registry.credentials {
                Credentials::Token(token) => token.expose_secret() == "tok",
                _ => false,
            }
        }),
        (&[("PROXY_AUTHENTICATE", "t"), ("PROXY_REGISTRY_IDENTITY_TOKEN", "tok")], |config| {
            matches!(config.registry.credentials, Credentials::Identity(_))
        }),
        (&[("PROXY_REGISTRY_ALLOW", "ghcr.io/acme/*, *")], |config| config.registry.allow.len() == 2),
        (&[("PROXY_REGISTRY_TOKEN_SERVICES", "r.example=auth.example")], |config| {
            config.registry.token_services[0].host == "auth.example"
        }),
        (&[("PROXY_REGISTRY_MIRRORS", "docker.io=http://mirror:5000/hub,docker.io=other")], |config| {
            config.registry.mirrors.iter().map(|mirror| mirror.url.to_string()).eq(["mirror:5000/hub", "other"])
        }),
        (&[("PROXY_PULL_POLICY", "Never")], |config| config.registry.pull_policy == PullPolicy::Never),
        (&[("PROXY_TAG_TTL", "10m")], |config| config.registry.tag_ttl == Duration::from_secs(600)),
        (&[("PROXY_TAG_TTL", "0")], |config| config.registry.tag_ttl.is_zero()),
        (&[("PROXY_FETCH_TIMEOUT", "90s")], |config| config.registry.fetch_timeout == Duration::from_secs(90)),
        (&[("PROXY_MAX_MODULE_SIZE", "10MiB")], |config| config.registry.max_module_size == 10 << 20),
        (&[("PROXY_CACHE_SIZE", "0")], |config| config.store.limit == 0),
        (&[("PROXY_CACHE_DIR", "/c"), ("HOME", "/h")], |config| config.store.folder == Path::new("/c")),
        (&[("CACHE_DIRECTORY", "/s"), ("HOME", "/h")], |config| config.store.folder == Path::new("/s")),
        (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], |config| config.store.folder == Path::new("/x/propeller-proxy")),
        (&[], |config| config.store.folder == Path::new("/var/cache/propeller-proxy")),
        (&[("PROXY_CHUNK_SIZE", "1")], |config| config.delivery.chunk_size.get() == 1),
        (&[("PROXY_CHUNK_SIZE", "7800000")], |config| config.delivery.chunk_size.get() == 7_800_000),
    ];
    for (variables, check) in rows {
        let config = load(variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
        assert!(check(&config), "{variables:?}: {config:?}");
    }
    for (text, level) in [("DEBUG", LogLevel::DEBUG), ("warn", LogLevel::WARN)] {
        assert_eq!(load_with_level(&[("PROXY_LOG_LEVEL", text)]).unwrap().1, level, "{text}");
    }
}

fn is_login(config: &ServiceOptions, username: &str, password: &str) -> bool {
    let login = config.mqtt.login.as_ref();
    login.is_some_and(|login| login.username == username && login.password.expose_secret() == password)
}

#[tokio::test]
async fn bad_bounds_end_the_daemon_with_78() {
    let variables = [
        ("PROXY_SHARE_GROUP", "a/b"),
        ("PROXY_TAG_MOVES", "sometimes"),
        ("PROXY_MAX_REQUESTS", "0"),
        ("PROXY_MAX_FETCHES", "65"),
        ("PROXY_MAX_IN_FLIGHT", "0"),
        ("PROXY_PUBLISH_RATE", "0"),
        ("PROXY_MAX_REPEATS", "-1"),
        ("PROXY_MAX_PASSES", "0"),
    ];
    let log = Daemon::misconfigured(&variables).await;
    assert!(log.starts_with("error: the configuration has 8 problems:"), "{log}");
    for (name, value) in variables {
        assert!(log.contains(&format!("{name} is \"{value}\"; give ")), "{name}: {log}");
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
    let message = problems(&[("PROXY_REGISTRY_CLIENT_CERT", "/nowhere")]);
    assert!(message.contains("PROXY_REGISTRY_CLIENT_KEY is missing"), "{message}");
}

#[test]
fn the_docker_configuration_is_found_and_must_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    fs::create_dir_all(home.join(".docker")).expect("a home");
    let (named, of_home) = (folder.path().join("config.json"), home.join(".docker/config.json"));
    fs::write(&of_home, "{}").expect("write a file");
    fs::write(&named, r#"{"auths": {}}"#).expect("write a file");
    let [folder, home, file] = [folder.path(), &home, &named].map(|path| path.to_str().expect("a path in UTF-8"));
    let authenticate = ("PROXY_AUTHENTICATE", "true");
    let found = |variables: &[(&str, &str)]| load(&[&[authenticate], variables].concat()).unwrap().registry.auth_file;
    assert_eq!(found(&[("PROXY_REGISTRY_AUTH_FILE", file), ("HOME", home)]), Some(named.clone()));
    assert_eq!(found(&[("DOCKER_CONFIG", folder), ("HOME", home)]), Some(named.clone()));
    assert_eq!(found(&[("HOME", home)]), Some(of_home));
    assert_eq!(load(&[("PROXY_REGISTRY_AUTH_FILE", file)]).unwrap().registry.auth_file, None, "not authenticating");

    fs::write(&named, "canary").expect("write a file");
    for variable in [("PROXY_REGISTRY_AUTH_FILE", file), ("DOCKER_CONFIG", folder)] {
        let message = problems(&[authenticate, variable]);
        assert!(message.contains("PROXY_REGISTRY_AUTH_FILE is") && message.contains("not a docker conf"), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
    let message = problems(&[authenticate, ("PROXY_REGISTRY_AUTH_FILE", "/nowhere")]);
    assert!(message.contains("PROXY_REGISTRY_AUTH_FILE is \"/nowhere\", which cannot be read"), "{message}");
}

#[test]
fn a_value_that_is_not_text_is_a_problem_of_its_own() {
    for (name, shown) in [("PROXY_DOMAIN_ID", "\"d\u{fffd}\", not UTF-8"), ("PROXY_CLIENT_KEY", "not UTF-8")] {
        let error = config::load::<ServiceOptions>(&Sources::of_variables(|asked| match asked {
            _ if asked == name => Some(OsString::from_vec(b"d\xff".to_vec())),
            "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" | "PROXY_CLIENT_ID" | "PROXY_CLIENT_KEY" => Some("x".into()),
            "PROXY_REGISTRY_URL" => Some("localhost".into()),
            _ => None,
        }));
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
    daemon.prints("PROXY_CHUNK_SIZE is").await;
    let log = daemon.log();
    assert!(log.starts_with("error: the configuration has 5 problems:"), "{log}");
    for name in ["PROXY_MQTT_QOS", "PROXY_CHUNK_SIZE", "PROXY_CHANNEL_ID", "PROXY_DOMAIN_ID", "PROXY_REGISTRY_URL"] {
        assert!(log.contains(name), "{log}");
    }
    let nobody = listener.accept().expect_err("no connection");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
}

/// `docs/configuration.md` is what the settings say of themselves; `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_docs_list_every_setting() {
    generated("docs/configuration.md", &pages::configuration::page());
}

/// `docs/errors.md` lists every error code and no other.
#[test]
fn the_docs_list_every_error_code() {
    let docs = include_str!("../../../docs/errors.md");
    let listed: Vec<_> = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, propeller_proxy::error::Error::CODES);
}
