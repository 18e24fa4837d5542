//! The distribution project's registry, as Docker ships it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::clients::push::{self, Pusher};
use crate::support::digest;
use crate::support::servers::process::{self, Process};
use crate::support::servers::tls::{Authority, Tls};

/// Whom a registry lets in.
pub enum Auth<'a> {
    None,
    /// One user, by Basic authentication.
    Htpasswd {
        username: &'a str,
        password: &'a str,
    },
    /// Bearers of tokens that the key of `certificate` (PEM) signed, to be had at the URL `realm`.
    Token {
        realm: &'a str,
        service: &'a str,
        issuer: &'a str,
        certificate: &'a str,
    },
}

/// A registry on 127.0.0.1 with its storage in a scratch directory, killed when dropped.
pub struct DockerRegistry {
    _processes: Vec<Process>,
    host: String,
    scheme: &'static str,
    pusher: Pusher,
    directory: TempDir,
}

impl DockerRegistry {
    /// Starts a registry that lets everyone pull and push over plain HTTP.
    pub async fn start() -> Self {
        Self::with(Auth::None, None).await
    }

    /// Starts a registry.
    pub async fn with(auth: Auth<'_>, tls: Option<&Tls>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let mut config = config(directory.path());
        config["auth"] = auth_config(&auth, &directory).await;
        if let Some(tls) = tls {
            config["http"]["tls"] = tls_config(tls, directory.path());
        }
        let (process, port) = serve(directory.path(), config).await;

        let host = format!("127.0.0.1:{port}");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut pusher = Pusher::new(&format!("{scheme}://{host}"), (&auth).into());
        if let Some(tls) = tls {
            pusher = pusher.trusting(&tls.issuer);
        }
        Self { _processes: vec![process], host, scheme, pusher, directory }
    }

    /// Starts a registry with TLS for those who hold a certificate of `authority`; its pusher has a door of his own.
    pub async fn for_clients_of(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let path = directory.path();
        let (back, back_port) = serve(path, config(path)).await;
        let clients = path.join("clients.pem");
        fs::write(&clients, authority.certificate()).expect("write the authority's certificate");
        let mut config = config(path);
        config["http"]["tls"] = tls_config(&authority.server(), path);
        config["http"]["tls"]["clientcas"] = json!([clients]);
        let (front, port) = serve(path, config).await;
        Self {
            _processes: vec![front, back],
            host: format!("127.0.0.1:{port}"),
            scheme: "https",
            pusher: Pusher::new(&format!("http://127.0.0.1:{back_port}"), push::Auth::None),
            directory,
        }
    }

    /// Returns `127.0.0.1:PORT`, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// Puts modules under the tags of one repository into the storage, as pushes would, which for a thousand take long.
    pub fn fill(&self, repository: &str, modules: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let root = self.directory.path().join("storage/docker/registry/v2");
        let repository = root.join("repositories").join(repository);
        let store = |blob: &[u8]| {
            let digest = digest(blob);
            let hex = digest["sha256:".len()..].to_owned();
            put(&root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])), blob);
            (digest, hex)
        };
        for (tag, module) in modules {
            for blob in [b"{}".as_slice(), &module] {
                let (digest, hex) = store(blob);
                put(&repository.join(format!("_layers/sha256/{hex}/link")), digest.as_bytes());
            }
            let (digest, hex) = store(push::wasm_manifest(&module).to_string().as_bytes());
            for link in [
                format!("revisions/sha256/{hex}/link"),
                format!("tags/{tag}/current/link"),
                format!("tags/{tag}/index/sha256/{hex}/link"),
            ] {
                put(&repository.join("_manifests").join(link), digest.as_bytes());
            }
        }
    }

    /// Returns what the registry has logged, a line for each request among it.
    pub fn log(&self) -> String {
        process::read(&log(self.directory.path()))
    }

    /// Returns someone who may push here, unless the registry requires tokens.
    pub fn pusher(&self) -> &Pusher {
        &self.pusher
    }
}

/// Writes a file of the storage and the folders above it.
fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("create a folder of the storage");
    fs::write(path, bytes).expect("write a file of the storage");
}

impl From<&Auth<'_>> for push::Auth {
    fn from(auth: &Auth<'_>) -> Self {
        match *auth {
            Auth::Htpasswd { username, password } => {
                Self::Basic { username: username.to_owned(), password: password.to_owned() }
            }
            Auth::None | Auth::Token { .. } => Self::None,
        }
    }
}

/// Returns the configuration of an open registry with its storage below `path`.
fn config(path: &Path) -> Value {
    json!({
        "version": "0.1",
        "storage": { "filesystem": { "rootdirectory": path.join("storage") }, "delete": { "enabled": true } },
        "http": { "secret": "of the tests" },
    })
}

fn tls_config(tls: &Tls, path: &Path) -> Value {
    let (certificate, key) = tls.write(path);
    json!({ "certificate": certificate, "key": key })
}

fn log(path: &Path) -> PathBuf {
    path.join("registry.log")
}

/// Runs a registry on a free port.
async fn serve(path: &Path, config: Value) -> (Process, u16) {
    let file = path.join("config.yml");
    let start = |port: u16| {
        let mut config = config.clone();
        config["http"]["addr"] = format!("127.0.0.1:{port}").into();
        // Every JSON text is YAML.
        fs::write(&file, config.to_string()).expect("write the registry's configuration");
        let mut command = process::command("docker-registry");
        command.arg("serve").arg(&file);
        command
    };
    Process::on_free_port(start, &log(path), "listening on").await
}

async fn auth_config(auth: &Auth<'_>, directory: &TempDir) -> Value {
    match *auth {
        Auth::None => json!({}),
        Auth::Htpasswd { username, password } => {
            let path = directory.path().join("htpasswd");
            let made = process::command("htpasswd").args(["-Bbn", username, password]).output().await;
            fs::write(&path, made.expect("run htpasswd").stdout).expect("write the registry's user");
            json!({ "htpasswd": { "realm": "tests", "path": path } })
        }
        Auth::Token { realm, service, issuer, certificate } => {
            let path = directory.path().join("issuer.pem");
            fs::write(&path, certificate).expect("write the issuer's certificate");
            json!({ "token": { "realm": realm, "service": service, "issuer": issuer, "rootcertbundle": path } })
        }
    }
}
