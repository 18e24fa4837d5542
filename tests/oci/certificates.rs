//! Certificates: private certificate authorities, which are trusted, and the client certificate, which is sent.

use tempfile::TempDir;

use crate::support::clients::daemon::Daemon;
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::faults::relay::Relay;
use crate::support::servers::docker_registry::{Auth, DockerRegistry};
use crate::support::servers::site::Site;
use crate::support::servers::tls::Authority;
use crate::support::{Variable, login, path, wasm_of_size, write};

const ADA: [Variable; 3] = login("ada", "lovelace");

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn a_private_certificate_authority_is_trusted_if_configured() {
    let authority = Authority::new();
    let module = wasm_of_size(1000);
    let folder = folder();
    let certificate = write(folder.path(), "authority.pem", &authority.certificate());
    let trusting = ("PROXY_REGISTRY_CA_CERT", &*certificate);
    for auth in [Auth::None, Auth::Htpasswd { username: "ada", password: "lovelace" }] {
        let registry = DockerRegistry::with(auth, Some(&authority.server())).await;
        registry.pusher().wasm("add", "latest", module.clone()).await;
        let relay = Relay::start(registry.host()).await;
        let url = format!("https://{}", relay.host());
        let site = Site::start(&url, &[&ADA[..], &[trusting]].concat()).await;
        site.delivers("add", &module).await;

        let site = Site::start(&url, &ADA).await;
        let before = relay.connections();
        site.rejects("add", "registry-unreachable").await;
        assert_eq!(relay.connections() - before, 1, "a certificate that is not trusted was looked at again");
    }
}

/// Each row: whose certificate the client has, if it has one, and whether the registry lets it in.
#[tokio::test]
async fn a_registry_that_requires_client_certificates_gets_the_configured_one() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let registry = DockerRegistry::for_clients_of(&authority).await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for (client, welcome) in [(Some(authority.client()), true), (Some(foreign.client()), false), (None, false)] {
        let folder = folder();
        let trusted = write(folder.path(), "authority.pem", &authority.certificate());
        let mut variables = vec![("PROXY_REGISTRY_CA_CERT", &*trusted)];
        let files = client.map(|client| client.write(folder.path()));
        if let Some((certificate, key)) = &files {
            variables.push(("PROXY_REGISTRY_CLIENT_CERT", path(certificate)));
            variables.push(("PROXY_REGISTRY_CLIENT_KEY", path(key)));
        }
        let site = Site::start(&registry.url(), &variables).await;
        if welcome {
            site.delivers("add", &module).await;
        } else {
            site.rejects("add", "registry-unreachable").await;
        }
    }
}

/// Another host may be redirected to, but learns nothing of who is asking.
#[tokio::test]
async fn the_client_certificate_is_sent_to_the_configured_registry_only() {
    let authority = Authority::new();
    let module = wasm_of_size(1000);
    let folder = folder();
    let trusted = write(folder.path(), "authority.pem", &authority.certificate());
    let (certificate, key) = authority.client().write(folder.path());
    let open = DockerRegistry::with(Auth::None, Some(&authority.server())).await;
    let closed = DockerRegistry::for_clients_of(&authority).await;
    for (elsewhere, reached) in [(open, true), (closed, false)] {
        let pushed = elsewhere.pusher().wasm("add", "latest", module.clone()).await;
        let blob = format!("{}/v2/add/blobs/{}", elsewhere.url(), pushed.module);
        let registry = FaultyRegistry::start(module.clone(), [Fault::RedirectTo(blob)]).await;
        let allowed = format!("{},{}", registry.host(), elsewhere.host());
        let variables = [
            ("PROXY_REGISTRY_ALLOW", &*allowed),
            ("PROXY_REGISTRY_CA_CERT", &trusted),
            ("PROXY_REGISTRY_CLIENT_CERT", path(&certificate)),
            ("PROXY_REGISTRY_CLIENT_KEY", path(&key)),
        ];
        let site = Site::start(registry.host(), &variables).await;
        if reached {
            site.delivers("add", &module).await;
        } else {
            site.rejects("add", "registry-unreachable").await;
        }
    }
}

/// Each row: certificates that cannot be used, and the variable that is to blame.
#[tokio::test]
async fn unusable_certificates_prevent_the_start() {
    const CERT: &str = "PROXY_REGISTRY_CLIENT_CERT";
    const KEY: &str = "PROXY_REGISTRY_CLIENT_KEY";
    const CA: &str = "PROXY_REGISTRY_CA_CERT";
    let folder = folder();
    let client = Authority::new().client();
    let certificate = &*write(folder.path(), "certificate.pem", &client.certificate);
    let key = &*write(folder.path(), "key.pem", &client.key);
    let foreign_key = &*write(folder.path(), "foreign-key.pem", &Authority::new().client().key);
    let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let garbage = &*write(folder.path(), "garbage.pem", &pem("!"));
    let garbage_inside = &*write(folder.path(), "garbage-inside.pem", &pem("Z2FyYmFnZQ=="));
    let text = &*write(folder.path(), "text.pem", "no PEM at all");
    let directory = path(folder.path());
    for (variables, name) in [
        (&[(CERT, certificate)][..], KEY),
        (&[(KEY, key)], CERT),
        (&[(CERT, "/absent.pem"), (KEY, key)], CERT),
        (&[(CERT, certificate), (KEY, "/absent.pem")], KEY),
        (&[(CERT, directory), (KEY, key)], CERT),
        (&[(CERT, garbage), (KEY, key)], CERT),
        (&[(CERT, text), (KEY, key)], CERT),
        (&[(CERT, certificate), (KEY, garbage)], KEY),
        (&[(CERT, certificate), (KEY, text)], KEY),
        (&[(CERT, certificate), (KEY, foreign_key)], KEY),
        (&[(CA, "/absent.pem")], CA),
        (&[(CA, garbage)], CA),
        (&[(CA, garbage_inside)], CA),
        (&[(CA, text)], CA),
    ] {
        let log = Daemon::misconfigured(variables).await;
        assert!(log.contains(name), "{variables:?}: {log}");
    }
}
