//! Pulling from an OCI registry (OCI distribution specification, "Pull").

mod auth;
mod manifest;
mod transport;

use reqwest::header::HeaderValue;
use reqwest::{Client, Response, StatusCode, Url};

use crate::blob::{Blob, Descriptor, Digest, Spool};
use crate::config::{Config, Credentials, RegistryUrl, Scheme, is_loopback};
use crate::error::Error;
use crate::reference::{Reference, Version};

/// Largest manifest that is read, bytes (the size that the distribution specification obliges registries to take).
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;
/// Largest token or error body that is read, bytes.
pub const MAX_ANSWER_SIZE: u64 = 64 << 10;
/// Largest module that is fetched, bytes.
pub const MAX_MODULE_SIZE: u64 = 2 << 30;

/// The client of all registries.
#[derive(Debug)]
pub struct Registry {
    http: Client,
    url: RegistryUrl,
    credentials: Credentials,
}

impl Registry {
    /// A client with the registry and credentials of `config`.
    ///
    /// # Errors
    /// [`Error::Setup`] if the HTTP client cannot be made.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            http: transport::client(is_loopback(&config.registry_url.host))?,
            url: config.registry_url.clone(),
            credentials: config.registry_credentials.clone(),
        })
    }

    /// The repository that `reference` lies in, not yet asked anything.
    #[must_use]
    pub fn repository<'a>(&'a self, reference: &'a Reference) -> Repository<'a> {
        Repository { registry: self, reference, authorization: None }
    }

    /// Credentials of the configuration belong to its registry and to no other.
    fn credentials_for(&self, reference: &Reference) -> &Credentials {
        if reference.registry == crate::reference::canonical_host(&self.url.host) {
            &self.credentials
        } else {
            &Credentials::Anonymous
        }
    }

    fn scheme_for(&self, reference: &Reference) -> &'static str {
        let plain = if reference.registry == self.url.host {
            self.url.scheme == Scheme::Http
        } else {
            is_loopback(&reference.registry)
        };
        if plain { "http" } else { "https" }
    }
}

/// A repository of a registry, with the authorization that it granted.
#[derive(Debug)]
pub struct Repository<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    authorization: Option<HeaderValue>,
}

impl Repository<'_> {
    /// Finds the module behind the reference: fetches its manifest and takes out the layer.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::DigestMismatch`] if a manifest asked for by digest is another.
    pub async fn resolve(&mut self) -> Result<Descriptor, Error> {
        let version = match &self.reference.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let response = self.get(&format!("manifests/{version}"), manifest::ACCEPT).await?;
        let body = transport::read_bounded(response, MAX_MANIFEST_SIZE).await?;
        if let Version::Digest(digest) = self.reference.version {
            let actual = Digest::of(&body);
            if actual != digest {
                return Err(Error::DigestMismatch { object: digest.to_string(), actual: actual.to_string() });
            }
        }
        let layer = manifest::wasm_layer(self.reference, &body)?;
        if layer.size > MAX_MODULE_SIZE {
            return Err(Error::TooLarge { object: self.reference.to_string(), limit: MAX_MODULE_SIZE });
        }
        Ok(layer)
    }

    /// Brings the bytes of `layer` to disk, and checks them on the way.
    ///
    /// # Errors
    /// Those of the stage fetch.
    pub async fn fetch(&mut self, layer: Descriptor) -> Result<Blob, Error> {
        let mut response = self.get(&format!("blobs/{}", layer.digest), "*/*").await?;
        let mut spool = Spool::open(layer);
        while let Some(piece) = response.chunk().await.map_err(transport::unreachable)? {
            spool.write(piece).await?;
        }
        spool.verify().await
    }

    /// Asks for an object of this repository, with authorization if the registry wants it.
    async fn get(&mut self, object: &str, accept: &str) -> Result<Response, Error> {
        let Reference { repository, .. } = self.reference;
        let scheme = self.registry.scheme_for(self.reference);
        let url = format!("{scheme}://{}/v2/{repository}/{object}", self.reference.api_host());
        let url =
            Url::parse(&url).map_err(|error| Error::RegistryUnreachable { object: url, detail: error.to_string() })?;
        let mut response = self.send(url.clone(), accept).await?;
        // A challenge from where the registry redirected to is not the registry's, and gets no credentials.
        if response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == url.origin() {
            self.authorization = Some(auth::answer(self.registry, self.reference, response).await?);
            response = self.send(url, accept).await?;
        }
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(transport::refusal(self.reference, response).await)
        }
    }

    async fn send(&self, url: Url, accept: &str) -> Result<Response, Error> {
        let mut request = self.registry.http.get(url).header("accept", accept);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        request.send().await.map_err(transport::unreachable)
    }
}
