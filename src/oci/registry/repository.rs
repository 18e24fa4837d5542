//! A repository, and the endpoints that serve it.

use std::sync::Arc;

use tokio::time::Instant;

use super::authorizations::fingerprint;
use super::client::Registry;
use super::endpoint::Endpoint;
use super::progress::Progress;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::options::Mirror;
use crate::oci::reference::Reference;

/// A repository of a registry, and of its mirrors.
#[derive(Debug)]
pub struct Repository<'a> {
    pub(super) registry: &'a Registry,
    pub(super) reference: &'a Reference,
    /// In the order in which they are tried, before the origin.
    pub(super) mirrors: Vec<Endpoint>,
    pub(super) origin: Endpoint,
    pub(super) progress: Arc<Progress>,
    pub(super) deadline: Option<Instant>,
}

impl Registry {
    /// The repository of `reference`. Connects to nothing.
    ///
    /// # Errors
    /// [`Error::Denied`] if the policy does not permit it, [`Error::Credentials`] if the docker configuration file or a
    /// helper fails.
    pub async fn repository<'a>(&'a self, reference: &'a Reference) -> Result<Repository<'a>, Error> {
        self.policy.permit(reference)?;
        let Reference { registry, repository, .. } = reference;
        let mut mirrors = Vec::new();
        for Mirror { url, .. } in self.mirrors.iter().filter(|mirror| mirror.registry == *registry) {
            let repository = [url.prefix.as_str(), repository].join("/").trim_start_matches('/').to_owned();
            let credentials = self.credentials.find(&url.host, &repository).await?;
            let (host, scheme) = (url.host.clone(), url.scheme);
            mirrors.push(Endpoint { host, scheme, repository, credentials, is_mirror: true });
        }
        let origin = Endpoint {
            host: registry.clone(),
            scheme: self.policy.scheme(registry),
            repository: repository.clone(),
            credentials: self.credentials.find(registry, repository).await?,
            is_mirror: false,
        };
        Ok(Repository { registry: self, reference, mirrors, origin, progress: Arc::default(), deadline: None })
    }
}

impl Repository<'_> {
    /// The same repository; `progress` shows the download of the blob that [`Repository::track`] names.
    #[must_use]
    pub fn with_progress(self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// The same repository; requests that are dropped after `deadline` are counted as unanswered, earlier ones as
    /// withdrawn.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Names the blob whose progress is shown.
    pub fn track(&self, blob: Digest) {
        self.progress.track(blob);
    }

    /// Differs between registries, and between credentials for one.
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        let identity = |Endpoint { host, scheme, credentials, .. }: &Endpoint| {
            let certificate = self.registry.certificate.as_ref().filter(|(owner, _)| owner == host);
            format!("{scheme}://{host} {} {certificate:?}\n", fingerprint(credentials))
        };
        self.mirrors.iter().chain([&self.origin]).map(identity).collect::<String>().into_bytes()
    }
}
