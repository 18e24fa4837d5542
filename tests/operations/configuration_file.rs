//! Settings from flags, the environment and a configuration file, as the binary reads them.

use std::fs;

use insta::assert_snapshot;
use propeller_proxy::mqtt::topic::Layout;
use serde_json::Value;
use tokio::process::Command;

use crate::support::clients::cli::{Ran, Shell};
use crate::support::clients::daemon::{BINARY, Daemon};
use crate::support::clients::proplet;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::{path, wasm_of_size, write};

const REQUIRED: &str = "[proxy]\ndomain_id = \"d\"\nchannel_id = \"c\"\nregistry_url = \"localhost:5000\"\n";

/// A shell in a directory with a `config.toml`.
struct Place(Shell);

impl Place {
    fn with(config: &str) -> Self {
        let place = Self(Shell::new());
        place.write("config.toml", config);
        place
    }

    fn write(&self, name: &str, text: &str) -> String {
        write(&self.0.path(""), name, text)
    }

    async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        self.0.run_with(arguments, variables).await
    }

    /// What `config` says of a setting: its value, the kind of its origin, and by what it was given.
    async fn explains(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> [Value; 3] {
        let output = self.run(&[&["config", "--format", "json"], arguments].concat(), variables).await;
        let Value::Array(rows) = output.json() else { panic!("{output:?}") };
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not listed"));
        ["value", "origin", "given_by"].map(|field| row[field].clone())
    }

    /// The problems that make a configuration unusable.
    async fn problems(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(&[&["config"], arguments].concat(), variables).await;
        output.ended(78).stderr
    }
}

/// One setting from each place, one that is wrong, and a secret.
#[tokio::test]
async fn what_is_in_force_is_printed_with_where_it_comes_from() {
    let place = Place::with(&format!("{REQUIRED}client_id = \"proxy\"\napi_key = \"secret\"\n"));
    let folders = [("PROXY_CACHE_DIR", "/cache"), ("PROXY_STATE_DIR", "/state")];
    let variables = [&folders[..], &[("PROXY_MQTT_QOS", "1"), ("PROXY_CHUNK_SISE", "1")]].concat();
    let output = place.run(&["config", "--chunk-size", "64KiB"], &variables).await.ended(0);
    assert_snapshot!("config", output.shown(&[]));
    let output = place.run(&["config", "--mqtt-qos", "3"], &[]).await.ended(78);
    assert_snapshot!("config_wrong", output.stderr);
}

#[tokio::test]
async fn a_flag_is_over_the_environment_and_that_is_over_the_file() {
    let place = Place::with(&format!("{REQUIRED}mqtt_qos = 1\n"));
    let flag = ["--mqtt-qos", "0"];
    let variable = [("PROXY_MQTT_QOS", "2")];
    let by = |arguments, variables| place.explains("PROXY_MQTT_QOS", arguments, variables);
    assert_eq!(by(&flag, &variable).await, ["0", "flag", "--mqtt-qos"]);
    assert_eq!(by(&[], &variable).await, ["2", "environment", "PROXY_MQTT_QOS"]);
    assert_eq!(by(&[], &[]).await, ["1", "file", "mqtt_qos in config.toml"]);
    assert_eq!(by(&[], &[("PROXY_MQTT_QOS", "")]).await, ["1", "file", "mqtt_qos in config.toml"]);
    place.write("config.toml", REQUIRED);
    assert_eq!(by(&[], &[]).await, [Value::from("2"), "default".into(), Value::Null]);
    let not_set = [Value::Null, "not set".into(), Value::Null];
    assert_eq!(place.explains("PROXY_SHARE_GROUP", &[], &[]).await, not_set);
}

#[tokio::test]
async fn a_file_is_named_by_a_flag_or_a_variable() {
    let place = Place::with("[proxy]\nmqtt_qos = 0\n");
    let named = place.write("named.toml", &format!("{REQUIRED}mqtt_qos = 1\n"));
    let expected: [Value; 3] = ["1".into(), "file".into(), format!("mqtt_qos in {named}").into()];
    assert_eq!(place.explains("PROXY_MQTT_QOS", &["--config-file", &named], &[]).await, expected);
    assert_eq!(place.explains("PROXY_MQTT_QOS", &[], &[("PROXY_CONFIG_FILE", &named)]).await, expected);
    let problems = place.problems(&["--config-file", "missing.toml"], &[]).await;
    assert!(problems.contains("--config-file is \"missing.toml\", which cannot be read"), "{problems}");
    let other = place.write("other.toml", "[manager]\nchannel_id = \"x\"\n");
    let problems = place.problems(&["--config-file", &other], &[]).await;
    assert!(problems.contains("which has no section [proxy]"), "{problems}");
}

/// Each row: a file, and what is said of it.
#[tokio::test]
async fn what_a_file_cannot_mean_is_told() {
    for (lines, said) in [
        ("mqtt_adress = \"x\"", "mqtt_adress in config.toml is no setting; did you mean mqtt_address?"),
        ("client_kee = \"x\"", "client_kee in config.toml is no setting; did you mean client_key?"),
        ("something_else = 1", "something_else in config.toml is no setting; `propeller-proxy config` lists them"),
        ("workload_key = \"00\"", "workload_key in config.toml is no setting: modules are sent as they are"),
        ("config_file = \"x\"", "config_file in config.toml is no setting"),
        ("mqtt_qos = 3", "mqtt_qos in config.toml is \"3\"; give 0, 1 or 2"),
        ("mqtt_qos = 2026-01-01", "mqtt_qos in config.toml is a TOML datetime; give 0, 1 or 2"),
        ("client_key = 0x1F", "client_key in config.toml is a TOML integer; give the password"),
        ("mqtt_qos = [[1]]", "mqtt_qos in config.toml is a TOML array; give 0, 1 or 2"),
        ("tenant_id = \"other\"", "domain_id in config.toml and tenant_id in config.toml mean the same"),
        ("client_id = \"x\"", "PROXY_CLIENT_KEY is missing"),
        ("client_key = secret", "which is no TOML in line 5"),
    ] {
        let place = Place::with(&format!("{REQUIRED}{lines}\n"));
        let problems = place.problems(&[], &[]).await;
        assert!(problems.contains(said), "{lines}: {problems}");
        assert!(!problems.contains("secret"), "{problems}");
    }
    let place = Place::with(&format!("{REQUIRED}registry_allow = [\"ghcr.io\", \"quay.io\"]\nauthenticate = false\n"));
    let allow = place.explains("PROXY_REGISTRY_ALLOW", &[], &[]).await;
    assert_eq!(allow[0], "ghcr.io,quay.io");
    // Numbers are taken as they are written.
    let place_of_numbers = Place::with("[proxy]\ndomain_id = 1.10\nchannel_id = 7\nchunk_size = 64_000\n");
    for (name, value) in [("PROXY_DOMAIN_ID", "1.10"), ("PROXY_CHANNEL_ID", "7"), ("PROXY_CHUNK_SIZE", "64000")] {
        assert_eq!(place_of_numbers.explains(name, &[], &[]).await[0], value);
    }
    assert!(place.run(&["config"], &[]).await.status == Some(0));
}

#[tokio::test]
async fn a_secret_may_be_in_a_file_and_is_not_shown() {
    let place = Place::with(&format!("{REQUIRED}client_id = \"proxy\"\nclient_key_file = \"key\"\n"));
    let key = place.write("key", "canary-secret\n");
    let output = place.run(&["config"], &[]).await;
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(output.text().contains("PROXY_CLIENT_KEY=***"), "{}", output.text());
    assert!(!output.text().contains("canary"), "{}", output.text());
    let given = place.explains("PROXY_CLIENT_KEY", &["--client-key-file", &key], &[]).await;
    assert_eq!(given, ["***", "flag", "--client-key-file"]);
    let given = place.explains("PROXY_CLIENT_KEY", &[], &[("PROXY_CLIENT_KEY_FILE", &key)]).await;
    assert_eq!(given, ["***", "environment", "PROXY_CLIENT_KEY_FILE"]);

    let problems = place.problems(&[], &[("PROXY_CLIENT_KEY_FILE", "nowhere")]).await;
    assert!(problems.contains("PROXY_CLIENT_KEY_FILE is \"nowhere\", which cannot be read"), "{problems}");
    assert!(problems.contains("the path of a file that has the password"), "{problems}");
    let both = [("PROXY_CLIENT_KEY_FILE", &*key), ("PROXY_CLIENT_KEY", "canary-other")];
    let problems = place.problems(&[], &both).await;
    assert!(problems.contains("PROXY_CLIENT_KEY and PROXY_CLIENT_KEY_FILE mean the same"), "{problems}");
    assert!(!problems.contains("canary"), "{problems}");
    let empty = place.write("empty", "\n");
    let problems = place.problems(&[], &[("PROXY_CLIENT_KEY_FILE", &empty)]).await;
    assert!(problems.contains("which is empty"), "{problems}");
    let secret = place.run(&["config", "--client-key", "canary"], &[]).await;
    assert_eq!(secret.status, Some(2), "a secret on the command line");
}

/// Whatever has a file: it is read up to its limit, and nobody is waited for.
#[tokio::test]
async fn a_file_without_end_is_refused() {
    let place = Place::with(REQUIRED);
    let pipe = place.0.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.expect("run mkfifo").success());
    let beside = [("PROXY_AUTHENTICATE", "true"), ("PROXY_CLIENT_ID", "proxy")];
    for name in [
        "PROXY_CONFIG_FILE",
        "PROXY_CLIENT_KEY_FILE",
        "PROXY_REGISTRY_PASSWORD_FILE",
        "PROXY_REGISTRY_AUTH_FILE",
        "PROXY_MQTT_TLS_CA_CERT",
        "PROXY_MQTT_TLS_CLIENT_KEY",
        "PROXY_REGISTRY_CA_CERT",
        "PROXY_VERIFY_KEY",
    ] {
        let problems = place.problems(&[], &[&beside[..], &[(name, "/dev/zero")]].concat()).await;
        assert!(problems.contains("\"/dev/zero\", which cannot be read"), "{name}: {problems}");
        assert!(problems.contains("larger than"), "{name}: {problems}");
        // Nobody writes: it is empty, and what it would give is missing.
        place.problems(&[], &[&beside[..], &[(name, path(&pipe))]].concat()).await;
        let problems = place.problems(&[], &[&beside[..], &[(name, "/tmp")]].concat()).await;
        assert!(problems.contains("\"/tmp\", which cannot be read"), "{name}: {problems}");
    }
    let output = place.run(&["check"], &[("SSL_CERT_FILE", "/dev/zero")]).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), output.stderr);
    assert!(said.contains("SSL_CERT_FILE") && said.contains("larger than"), "{said}");
    let large = place.write("large.toml", &"#".repeat((1 << 20) + 1));
    let problems = place.problems(&["--config-file", &large], &[]).await;
    assert!(problems.contains("which cannot be read: larger than 1048576 bytes"), "{problems}");
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_told_and_ignored() {
    let place = Place::with(REQUIRED);
    let output = place.run(&["config"], &[("PROXY_MQTT_ADRESS", "x"), ("PROXY_SOMETHING_ELSE", "y")]).await;
    assert_eq!(output.status, Some(0), "{output:?}");
    let said = output.stderr;
    assert!(said.contains("PROXY_MQTT_ADRESS is no setting; did you mean PROXY_MQTT_ADDRESS?"), "{said}");
    assert!(said.contains("PROXY_SOMETHING_ELSE is no setting, and is ignored"), "{said}");
}

/// The secrets of one part are not read for another: they may be readable to the service only.
#[tokio::test]
async fn what_a_command_does_not_need_is_not_looked_at() {
    let place = Place::with(REQUIRED);
    let unreadable = [("PROXY_CLIENT_KEY_FILE", "/nowhere"), ("PROXY_CLIENT_ID", "proxy")];
    let output = place.run(&["inspect", "add", "--registry-url", "http://127.0.0.1:1"], &unreadable).await;
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("no complete answer from http://127.0.0.1:1"), "{}", output.stderr);
}

/// Keys and tokens where they do not belong, and passwords within addresses, are masked as secrets are.
#[tokio::test]
async fn what_may_be_a_password_in_an_address_is_not_shown() {
    let place = Place::with(REQUIRED);
    let output = place.run(&["config", "--registry-url", "https://ada:canary@localhost:5000"], &[]).await;
    let all = output.shown(&[]);
    assert!(all.contains("https://***@localhost:5000") && !all.contains("canary"), "{all}");
    for (name, value) in [
        ("PROXY_OTEL_URL", "https://h/v1/traces?api-key=canary"),
        ("PROXY_OTEL_URL", "ftp://h/?api-key=canary"),
        ("PROXY_MQTT_TLS_CLIENT_KEY", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"),
    ] {
        let output = place.run(&["config"], &[(name, value)]).await;
        let all = output.shown(&[]);
        assert!(all.contains(name) && !all.contains("canary"), "{all}");
    }
}

/// What an operator of the original has: the environment with the addresses, and `config.toml` as provisioning wrote it, in
/// its older and its newer form. The same devices get the same modules.
#[tokio::test]
async fn what_was_written_for_the_original_starts_ours_unchanged() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(700_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for (domain, client, key) in [("domain_id", "client_id", "client_key"), ("tenant_id", "entity_id", "api_key")] {
        let place = Place::with(&format!(
            "# generated\n[manager]\n{domain} = \"domain\"\n{client} = \"m\"\n{key} = \"m-key\"\nchannel_id = \"channel\"\n\n\
             [proplet]\n{domain} = \"domain\"\n{client} = \"p\"\n{key} = \"p-key\"\nchannel_id = \"channel\"\n\n\
             [proxy]\n{domain} = \"domain\"\n{client} = \"proxy\"\n{key} = \"proxy-key\"\nchannel_id = \"channel\"\n",
        ));
        let users = [("proxy", "proxy-key"), ("p", "p-key")];
        let broker = Mosquitto::with(Options { users: &users, ..Options::default() }).await;
        let variables = [
            ("PROXY_LOG_LEVEL", "info".to_owned()),
            ("PROXY_MQTT_ADDRESS", broker.address()),
            ("PROXY_MQTT_TIMEOUT", "30s".to_owned()),
            ("PROXY_MQTT_QOS", "2".to_owned()),
            ("PROXY_CHUNK_SIZE", "512000".to_owned()),
            ("PROXY_AUTHENTICATE", "false".to_owned()),
            ("PROXY_REGISTRY_URL", registry.host().to_owned()),
        ];
        let mut command = Command::new(BINARY);
        command.current_dir(place.0.path(""));
        let daemon = Daemon::spawn_by(command, &variables);
        daemon.event("subscribed").await;
        let proplet = proplet::connect_as(&broker, Layout::Plain, 2, Some(("p", "p-key"))).await;
        let got = proplet.request(&format!("{}/add:latest", registry.host())).await;
        assert_eq!(got.as_deref(), Some(&module[..]), "{}", daemon.log());
    }
}

/// A file that is not ours, in the directory from which somebody calls, is in nobody's way.
#[tokio::test]
async fn a_usual_file_of_another_program_is_left_alone() {
    let place = Place::with("[server]\nport = 1\n");
    let output =
        place.run(&["config", "--domain-id", "d", "--channel-id", "c", "--registry-url", "localhost"], &[]).await;
    assert_eq!(output.status, Some(0), "{output:?}");
    fs::remove_file(place.0.path("config.toml")).expect("remove the file");
    let output =
        place.run(&["config", "--domain-id", "d", "--channel-id", "c", "--registry-url", "localhost"], &[]).await;
    assert_eq!(output.status, Some(0), "{output:?}");
}
