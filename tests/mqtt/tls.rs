//! TLS and `WebSockets` to the broker.

use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::clients::daemon::{Daemon, environment, owned};
use crate::support::clients::proplet;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::{Mosquitto, Options};
use crate::support::servers::tls::{Authority, Tls};
use crate::support::{free_port, path, wasm_of_size, write};

/// A broker that lets in only who has a certificate of `authority`, which also vouches for it; devices have a listener of
/// their own without TLS.
struct Certified {
    authority: Authority,
    broker: Mosquitto,
    devices: String,
    folder: TempDir,
}

impl Certified {
    async fn start(certificate: impl FnOnce(&Authority) -> Tls) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        let trusted = write(folder.path(), "authority.pem", &authority.certificate());
        let port = free_port();
        let lines = format!("cafile {trusted}\nrequire_certificate true\nlistener {port} 127.0.0.1\n");
        let server = certificate(&authority);
        let broker = Mosquitto::with(Options { tls: Some(&server), lines: &lines, ..Options::default() }).await;
        Self { authority, broker, devices: format!("tcp://127.0.0.1:{port}"), folder }
    }

    /// The path of the authority's certificate.
    fn trusted(&self) -> String {
        path(&self.folder.path().join("authority.pem")).to_owned()
    }

    /// Runs a daemon between this broker and the registry, with further `variables`.
    fn daemon(&self, registry: &str, variables: &[(&'static str, &str)]) -> Daemon {
        let mut all = environment(&self.broker.address(), registry);
        all.extend(owned(variables));
        Daemon::spawn(&all)
    }
}

/// Writes a certificate and its key; returns their paths.
fn written(tls: &Tls, folder: &Path) -> (String, String) {
    std::fs::create_dir_all(folder).expect("a folder");
    let (certificate, key) = tls.write(folder);
    (path(&certificate).to_owned(), path(&key).to_owned())
}

async fn registry_with(module: &Bytes) -> DockerRegistry {
    let registry = DockerRegistry::start().await;
    registry.pusher().wasm("add", "latest", module.clone()).await;
    registry
}

#[tokio::test]
async fn a_broker_that_requires_client_certificates_is_served() {
    let site = Certified::start(Authority::server).await;
    let module = wasm_of_size(700_000);
    let registry = registry_with(&module).await;
    let (certificate, key) = written(&site.authority.client(), &site.folder.path().join("client"));
    let trusted = site.trusted();
    let variables = [
        ("PROXY_MQTT_TLS_CA_CERT", &*trusted),
        ("PROXY_MQTT_TLS_CLIENT_CERT", &certificate),
        ("PROXY_MQTT_TLS_CLIENT_KEY", &key),
    ];
    let daemon = site.daemon(registry.host(), &variables);
    daemon.event("subscribed").await;
    let device = proplet::connect_by(&site.devices).await;
    let got = device.request(&format!("{}/add:latest", registry.host())).await;
    assert_eq!(got.as_deref(), Some(&module[..]), "{}", daemon.log());
}

/// Each row: the certificate of the broker, what the proxy has, and its error before it ends with status 77.
#[tokio::test]
async fn wrong_certificates_end_the_proxy_with_a_clear_error() {
    type Make = fn(&Authority) -> Tls;
    let rows: [(&str, Make, bool, Option<Make>, &str); 5] = [
        (
            "an authority that is not trusted",
            Authority::server,
            false,
            Some(Authority::client),
            "certificate is not trusted",
        ),
        (
            "another host",
            |authority| authority.server_of("broker.example"),
            true,
            Some(Authority::client),
            "broker.example",
        ),
        ("expired", Authority::expired_server, true, Some(Authority::client), "expired"),
        ("no client certificate", Authority::server, true, None, "does not accept our certificate"),
        (
            "a client of another authority",
            Authority::server,
            true,
            Some(|_| Authority::new().client()),
            "does not accept our certificate",
        ),
    ];
    for (what, server, is_trusted, client, said) in rows {
        let site = Certified::start(server).await;
        let other = write(site.folder.path(), "other.pem", &Authority::new().certificate());
        let trusted = if is_trusted { site.trusted() } else { other };
        let mut variables = vec![("PROXY_MQTT_TLS_CA_CERT", &*trusted)];
        let files = client.map(|make| written(&make(&site.authority), &site.folder.path().join("client")));
        if let Some((certificate, key)) = &files {
            variables.push(("PROXY_MQTT_TLS_CLIENT_CERT", certificate));
            variables.push(("PROXY_MQTT_TLS_CLIENT_KEY", key));
        }
        let mut daemon = site.daemon("localhost:5000", &variables);
        assert_eq!(daemon.ended().await.code(), Some(77), "{what}: {}", daemon.log());
        let log = daemon.log();
        let line = |start: &str| log.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        assert!(
            line("error: no trust between this proxy and broker mqtts://127.0.0.1").contains(said),
            "{what}: {log}"
        );
        assert!(line("hint: ").contains("PROXY_MQTT_TLS_CA_CERT"), "{what}: {log}");
    }
}

#[tokio::test]
async fn unusable_certificate_files_are_configuration_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let (certificate, key) = written(&authority.client(), &folder.path().join("client"));
    let (_, foreign) = written(&authority.client(), &folder.path().join("foreign"));
    let (expired, expired_key) = written(&authority.expired_client(), &folder.path().join("expired"));
    let nonsense = write(folder.path(), "nonsense.pem", "nonsense");
    let (cert, cert_key) = ("PROXY_MQTT_TLS_CLIENT_CERT", "PROXY_MQTT_TLS_CLIENT_KEY");
    for (variables, said) in [
        (vec![(cert, &*certificate)], format!("{cert_key} is missing")),
        (vec![(cert_key, &*key)], format!("{cert} is missing")),
        (
            vec![(cert, "/nowhere"), (cert_key, &key)],
            format!("{cert} is \"/nowhere\", which cannot be read: No such file"),
        ),
        (vec![(cert, &nonsense), (cert_key, &key)], format!("{cert} is {nonsense:?}, which has no certificate in PEM")),
        (vec![(cert, &certificate), (cert_key, &foreign)], format!("{cert_key} is not the key of {cert}")),
        (vec![(cert, &expired), (cert_key, &expired_key)], format!("{cert} is a certificate that expired on")),
        (
            vec![("PROXY_MQTT_TLS_CA_CERT", &nonsense)],
            format!("PROXY_MQTT_TLS_CA_CERT is {nonsense:?}, which has no certificate in PEM"),
        ),
        (vec![("PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY", "maybe")], "PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY is".into()),
    ] {
        let log = Daemon::misconfigured(&variables).await;
        assert!(log.contains(&said), "{variables:?}: {log}");
    }
}

#[tokio::test]
async fn skipped_verification_logs_a_warning() {
    let server = Tls::self_signed();
    let broker = Mosquitto::with(Options { tls: Some(&server), ..Options::default() }).await;
    let mut variables = environment(&broker.address(), "localhost:5000");
    variables.push(("PROXY_MQTT_TLS_INSECURE_SKIP_VERIFY", "true".into()));
    let daemon = Daemon::start(&variables).await;
    daemon.event("tls-unverified").await;
}

#[tokio::test]
async fn tls_settings_without_tls_log_a_warning() {
    let broker = Mosquitto::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = write(folder.path(), "authority.pem", &Authority::new().certificate());
    let mut variables = environment(&broker.address(), "localhost:5000");
    // The name that it had in the first versions of the original.
    variables.push(("PROXY_MQTT_CA_PATH", trusted));
    let daemon = Daemon::start(&variables).await;
    daemon.event("tls-settings-unused").await;
}

/// A listener for `WebSockets` beside the usual one, with and without TLS.
#[tokio::test]
async fn a_broker_is_reached_over_websockets() {
    let module = wasm_of_size(3_000_000);
    let registry = registry_with(&module).await;
    let server = Tls::self_signed();
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = written(&server, folder.path());
    for (scheme, tls) in [("ws", String::new()), ("wss", format!("certfile {certificate}\nkeyfile {key}\n"))] {
        let port = free_port();
        let lines = format!("listener {port} 127.0.0.1\nprotocol websockets\n{tls}");
        let broker = Mosquitto::with(Options { lines: &lines, ..Options::default() }).await;
        TcpStream::connect(("127.0.0.1", port)).await.expect("a mosquitto with WebSockets");
        for path in ["", "/mqtt"] {
            let mut variables = environment(&format!("{scheme}://127.0.0.1:{port}{path}"), registry.host());
            variables.push(("PROXY_MQTT_TLS_CA_CERT", certificate.clone()));
            let daemon = Daemon::start(&variables).await;
            let reached = daemon.event("subscribed").await["broker"].to_string();
            assert!(reached.contains(&format!("{scheme}://127.0.0.1:{port}/")), "{reached}");
            let device = proplet::connect(&broker).await;
            let got = device.request(&format!("{}/add:latest", registry.host())).await;
            assert_eq!(got.as_deref(), Some(&module[..]), "{}", daemon.log());
        }
    }
}
