//! The credentials for each registry: those of the settings, of the docker configuration file and of credential
//! helpers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::docker::{CredentialSource, DockerConfig, login};
use crate::error::{Detail, Error, printable};
use crate::oci::digest::Digest;
use crate::oci::options::{Credentials, RegistryOptions};
use crate::util::sync::lock;
use crate::util::ttl_cache::TtlCache;

/// How long a credential helper may take.
#[doc(alias = "bound")]
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer of a credential helper is used.
#[doc(alias = "bound")]
const HELPER_TTL: Duration = Duration::from_secs(60);
/// Credential helpers that run at once.
#[doc(alias = "bound")]
const MAX_HELPERS: usize = 4;
/// Answers of credential helpers that are cached.
#[doc(alias = "bound")]
const MAX_HELPER_ANSWERS: usize = 256;
/// Largest answer of a credential helper that is read, bytes.
#[doc(alias = "bound")]
const MAX_HELPER_ANSWER_SIZE: u64 = 64 << 10;

/// All credentials.
#[derive(Debug)]
pub(super) struct CredentialStore {
    /// The configured registry. Its credentials are sent to no other.
    registry: String,
    configured: Credentials,
    file: Option<PathBuf>,
    snapshot: Mutex<Option<Snapshot>>,
    /// By helper and server.
    answers: TtlCache<(String, String), Credentials>,
    helpers: Semaphore,
}

/// The file as it was read, and its time and size then.
#[derive(Debug, Clone)]
struct Snapshot {
    stamp: (SystemTime, u64),
    config: Arc<DockerConfig>,
}

impl CredentialStore {
    pub(super) fn new(options: &RegistryOptions) -> Self {
        Self {
            registry: options.url.host.clone(),
            configured: options.credentials.clone(),
            file: options.auth_file.clone(),
            snapshot: Mutex::default(),
            answers: TtlCache::new(MAX_HELPER_ANSWERS),
            helpers: Semaphore::new(MAX_HELPERS),
        }
    }

    /// The credentials for a repository of the registry `host`.
    pub(super) async fn find(&self, host: &str, repository: &str) -> Result<Credentials, Error> {
        if host == self.registry && !matches!(self.configured, Credentials::Anonymous) {
            return Ok(self.configured.clone());
        }
        let Some(file) = &self.file else { return Ok(Credentials::Anonymous) };
        match self.config(file)?.find(host, repository) {
            CredentialSource::File(credentials) => Ok(credentials),
            CredentialSource::Helper { helper, server } => self.helper_credentials(helper, server).await,
        }
    }

    /// The file's content, read again when it changed.
    fn config(&self, file: &Path) -> Result<Arc<DockerConfig>, Error> {
        let failed = |detail| Error::Credentials { object: file.display().to_string(), detail };
        let metadata = file.metadata().map_err(|error| failed(format!("cannot be read ({error})")))?;
        let stamp = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len());
        let mut snapshot = lock(&self.snapshot);
        if let Some(snapshot) = &*snapshot
            && snapshot.stamp == stamp
        {
            return Ok(Arc::clone(&snapshot.config));
        }
        let config = Arc::new(DockerConfig::read(file).map_err(failed)?);
        *snapshot = Some(Snapshot { stamp, config: Arc::clone(&config) });
        self.answers.clear();
        Ok(config)
    }

    /// The answer of a helper, or its cached one.
    async fn helper_credentials(&self, helper: String, server: String) -> Result<Credentials, Error> {
        let key = (helper, server);
        if let Some(credentials) = self.answers.get(&key) {
            return Ok(credentials);
        }
        let _permit = self.helpers.acquire().await;
        // Another task may have run it meanwhile.
        if let Some(credentials) = self.answers.get(&key) {
            return Ok(credentials);
        }
        let answered = tokio::time::timeout(HELPER_TIMEOUT, run_helper(&key.0, &key.1)).await;
        let credentials = answered
            .unwrap_or_else(|_| Err(format!("gave no answer within {} s", HELPER_TIMEOUT.as_secs())))
            .map_err(|detail| {
                let object = printable(&format!("docker-credential-{}", key.0), Detail::MAX_CHARS);
                Error::Credentials { object, detail }
            })?;
        self.answers.insert(key, credentials.clone(), Instant::now() + HELPER_TTL);
        Ok(credentials)
    }
}

/// Runs `docker-credential-{helper} get` (the protocol of docker-credential-helpers). Its output is never shown.
async fn run_helper(helper: &str, server: &str) -> Result<Credentials, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: SecretString,
    }
    /// The message of every helper without credentials for a registry.
    const UNKNOWN: &[u8] = b"credentials not found in native keychain";

    if helper.is_empty() || !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err("is no name of a program".into());
    }
    let mut command = Command::new(format!("docker-credential-{helper}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut process = command.spawn().map_err(|error| format!("cannot be run ({error})"))?;
    let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err("has no standard input".into()) };
    // A helper that does not read its input may still answer.
    let _ = stdin.write_all(server.as_bytes()).await;
    drop(stdin);
    let mut answer = Vec::new();
    let read = stdout.take(MAX_HELPER_ANSWER_SIZE).read_to_end(&mut answer).await;
    read.map_err(|error| format!("gave no answer ({error})"))?;
    let status = process.wait().await.map_err(|error| format!("was lost ({error})"))?;
    if answer.trim_ascii().starts_with(UNKNOWN) {
        return Ok(Credentials::Anonymous);
    }
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| "gave an unreadable answer".to_owned())?;
    if answer.username.is_empty() && answer.secret.expose_secret().is_empty() {
        return Ok(Credentials::Anonymous);
    }
    Ok(login(&answer.username, answer.secret.expose_secret()))
}

/// Distinguishes credentials without holding them.
pub(super) fn fingerprint(credentials: &Credentials) -> Digest {
    let (kind, name, secret) = match credentials {
        Credentials::Anonymous => return Digest::of(&[]),
        Credentials::Basic { username, password } => ("basic", username.as_str(), password),
        Credentials::Token(token) => ("token", "", token),
        Credentials::Identity(token) => ("identity", "", token),
    };
    Digest::of(format!("{kind}\0{name}\0{}", secret.expose_secret()).as_bytes())
}
