//! Pulling from OCI registries and pushing to them (OCI distribution specification, "Pull" and "Push").

mod auth;
mod check;
mod contact;
mod credentials;
mod docker;
mod outgoing;
mod preamble;
mod progress;
mod proxies;
mod push;
mod resolver;
mod retry;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Semaphore;
use tracing::warn;

use self::auth::{Access, Authorizations, Challenge, fingerprint};
use self::credentials::Keychain;
pub(crate) use self::docker::DockerConfig;
pub use self::progress::Progress;
use self::retry::{Failure, Patience, retrying};
use self::transport::{Body, Call, Transport, continues, shown};
use crate::error::{Detail, Error};
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::host::Scheme;
use crate::oci::host::api_host;
use crate::oci::manifest::{self, Manifest};
use crate::oci::options::{Credentials, Mirror, RegistryOptions};
use crate::oci::policy::Policy;
use crate::oci::reference::Reference;
use crate::oci::store::{Scope, Spool};
use crate::telemetry::readiness::Probe;
use crate::util::metrics;
use crate::util::ttl_cache::TtlCache;

/// Largest manifest that is read, bytes (the size that the distribution specification obliges registries to take).
#[doc(alias = "bound")]
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;
/// Largest token or error body that is read, bytes.
pub const MAX_ANSWER_SIZE: u64 = 64 << 10;
/// How long a mirror that did not answer is left alone.
const MIRROR_REST: Duration = Duration::from_secs(30);

/// The client of all registries.
#[derive(Debug)]
pub struct Registry {
    transport: Transport,
    /// The address of the configured registry, and whether it answers there.
    root: Option<Url>,
    contact: Probe,
    policy: Policy,
    keychain: Keychain,
    authorizations: Authorizations,
    mirrors: Vec<Mirror>,
    /// Mirrors that did not answer, and rest for a while.
    away: TtlCache<String, ()>,
    /// The registry that is shown the client certificate, and its digest.
    certificate: Option<(String, Digest)>,
    /// Manifests that are asked for at once.
    lookups: Semaphore,
    /// Blobs that are down- or uploaded at once. Apart from the lookups, so that slow ones do not stop what is stored.
    transfers: Semaphore,
}

/// Where a repository is to be had: the registry itself, or a mirror.
#[derive(Debug)]
struct Endpoint {
    /// `host[:port]` as references have it.
    host: String,
    scheme: Scheme,
    /// The repository there.
    repository: String,
    credentials: Credentials,
    mirror: bool,
}

impl Endpoint {
    /// The URL of an object such as `blobs/sha256:…`.
    fn url(&self, object: &str) -> Result<Url, Error> {
        let url = format!("{}://{}/v2/{}/{object}", self.scheme, api_host(&self.host), self.repository);
        Url::parse(&url).map_err(|error| Error::RegistryUnreachable { object: url, detail: error.to_string() })
    }
}

impl Registry {
    /// A client that keeps to `policy`.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable.
    pub fn new(config: &RegistryOptions, policy: Policy) -> Result<Self, Error> {
        let contact = contact::probe();
        Ok(Self {
            transport: Transport::new(config, policy.clone(), contact.clone())?,
            root: contact::root(&config.url).ok(),
            contact,
            policy,
            keychain: Keychain::new(config),
            authorizations: Authorizations::default(),
            mirrors: config.mirrors.clone(),
            away: TtlCache::new(config.mirrors.len()),
            certificate: config.client_identity.as_ref().map(|identity| {
                (
                    config.url.host.clone(),
                    Digest::of(&identity.chain.iter().flat_map(AsRef::as_ref).copied().collect::<Vec<u8>>()),
                )
            }),
            lookups: Semaphore::new(config.max_fetches),
            transfers: Semaphore::new(config.max_fetches),
        })
    }

    /// The repository that `reference` lies in, not yet asked anything.
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
            let credentials = self.keychain.find(&url.host, &repository).await?;
            let (host, scheme) = (url.host.clone(), url.scheme);
            mirrors.push(Endpoint { host, scheme, repository, credentials, mirror: true });
        }
        let origin = Endpoint {
            host: registry.clone(),
            scheme: self.policy.scheme(registry),
            repository: repository.clone(),
            credentials: self.keychain.find(registry, repository).await?,
            mirror: false,
        };
        Ok(Repository {
            registry: self,
            reference,
            mirrors,
            origin,
            progress: Arc::default(),
            is_late: AtomicBool::default(),
        })
    }
}

/// A repository of a registry, and of its mirrors.
#[derive(Debug)]
pub struct Repository<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    /// In the order in which they are asked.
    mirrors: Vec<Endpoint>,
    origin: Endpoint,
    progress: Arc<Progress>,
    /// Whether the time is over in which it may be asked.
    is_late: AtomicBool,
}

impl Repository<'_> {
    /// The same, and `progress` tells how far the download of the blob is that [`Repository::watch`] names.
    #[must_use]
    pub fn watched_by(self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// Names the blob whose progress matters.
    pub fn watch(&self, blob: Digest) {
        self.progress.watch(blob);
    }

    /// Tells apart what is fetched from other registries or under other credentials.
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        let identity = |Endpoint { host, scheme, credentials, .. }: &Endpoint| {
            let certificate = self.registry.certificate.as_ref().filter(|(owner, _)| owner == host);
            format!("{scheme}://{host} {} {certificate:?}\n", fingerprint(credentials))
        };
        self.mirrors.iter().chain([&self.origin]).map(identity).collect::<String>().into_bytes()
    }

    /// Asks which digest a tag or digest has now, perhaps still `known`, without fetching anything; `None` if the
    /// registry does not say.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch.
    pub async fn head(&self, version: &str, known: Digest) -> Result<Option<Digest>, Error> {
        self.first(|endpoint| async move {
            let url = endpoint.url(&format!("manifests/{version}"))?;
            let call = Call::new(Method::HEAD, url).accept(manifest::ACCEPT).if_none_match(known);
            let response = retrying(endpoint.mirror, || async {
                let _permit = self.registry.lookups.acquire().await;
                self.try_ask(endpoint, &call).await
            });
            let response = response.await?;
            let unchanged = response.status() == StatusCode::NOT_MODIFIED;
            Ok(if unchanged { Some(known) } else { content_digest(&response) })
        })
        .await
    }

    /// Fetches the manifest of a tag or digest.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::DigestMismatch`] if it is not the one that was asked for, or that
    /// the registry says it is.
    pub async fn manifest(&self, version: &str) -> Result<Bytes, Error> {
        self.first(|endpoint| async move {
            let (said, body) = self.document(endpoint, &format!("manifests/{version}")).await?;
            let (expected, actual) = (version.parse().ok().or(said), Digest::of(&body));
            match expected.filter(|expected| *expected != actual) {
                Some(expected) => {
                    Err(Error::DigestMismatch { object: expected.to_string(), actual: actual.to_string() })
                }
                None => Ok(body),
            }
        })
        .await
    }

    /// Fetches the list of what refers to the manifest `digest` (OCI distribution specification, "Listing Referrers").
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::UnknownImage`] where the registry has no such lists.
    pub async fn referrers(&self, digest: Digest) -> Result<Bytes, Error> {
        self.first(|endpoint| async move {
            let (_, list) = self.document(endpoint, &format!("referrers/{digest}")).await?;
            // A mirror may well have the list and not what is in it.
            let empty =
                matches!(manifest::parse(self.reference, &list), Ok(Manifest::Index(index)) if index.is_empty());
            if endpoint.mirror && empty {
                return Err(Error::UnknownImage { reference: self.reference.to_string(), detail: Detail::default() });
            }
            Ok(list)
        })
        .await
    }

    /// Brings the bytes of a blob to `scope`, and checks them on the way.
    ///
    /// # Errors
    /// Those of the stage fetch.
    pub async fn fetch(&self, blob: &Descriptor, scope: &Scope) -> Result<Blob, Error> {
        self.first(|endpoint| async move {
            let mut spool = scope.spool(blob.clone()).await?;
            match self.download(endpoint, blob, &mut spool).await {
                Ok(()) => spool.commit().await,
                Err(error) => {
                    spool.discard().await;
                    Err(error)
                }
            }
        })
        .await
    }

    /// The answer of the first mirror that has one, else the registry's own.
    async fn first<'a, T, F>(&'a self, ask: impl Fn(&'a Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let away = &self.registry.away;
        for mirror in self.mirrors.iter().filter(|mirror| away.get(&mirror.host).is_none()) {
            match self.counted(mirror, ask(mirror)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    warn!(mirror = mirror.host, code = error.code(), "the mirror does not help: {error}");
                    if matches!(error, Error::RegistryUnreachable { .. }) {
                        away.insert(mirror.host.clone(), (), Instant::now() + MIRROR_REST);
                    }
                }
            }
        }
        self.counted(&self.origin, ask(&self.origin)).await
    }

    /// Downloads a blob, from where it broke off if it does.
    async fn download(&self, endpoint: &Endpoint, blob: &Descriptor, spool: &mut Spool) -> Result<(), Error> {
        let call = Call::new(Method::GET, endpoint.url(&format!("blobs/{}", blob.digest))?);
        let (mut patience, mut furthest) = (Patience::new(endpoint.mirror), 0);
        while let Err(failure) = self.download_rest(endpoint, &call, blob, spool).await {
            if spool.received() > furthest {
                furthest = spool.received();
                patience.progressed();
            }
            patience.wait(failure).await?;
        }
        Ok(())
    }

    /// Downloads what the spool does not have yet. Where the registry ignores the range, or answers with another, the
    /// spool begins again.
    async fn download_rest(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        blob: &Descriptor,
        spool: &mut Spool,
    ) -> Result<(), Failure> {
        let _permit = self.registry.transfers.acquire().await;
        let offset = spool.received();
        if offset == blob.size && offset > 0 {
            return Ok(());
        }
        let response = self.try_ask(endpoint, &call.clone().starting_at(offset)).await?;
        match response.status() {
            _ if offset == 0 => {}
            StatusCode::PARTIAL_CONTENT if continues(&response, offset, blob.size) => {}
            StatusCode::OK => spool.restart().await?,
            status => {
                spool.restart().await?;
                let detail = format!("{status} is not the range from byte {offset}");
                let error = Error::RegistryAnswer { object: shown(response.url()), detail };
                return Err(Failure::Transient(error, None));
            }
        }
        let coming = response.content_length().map(|length| spool.received().saturating_add(length));
        if let Some(actual) = coming.filter(|size| *size != blob.size) {
            return Err(spool.size_mismatch(actual).into());
        }
        let mut body = Body::new(response, u64::MAX);
        let bytes = metrics::fetched_bytes(self.registry.label(endpoint));
        while let Some(piece) = body.next().await? {
            bytes.increment(piece.len() as u64);
            spool.write(piece).await?;
            self.progress.note(blob, spool.received());
        }
        Ok(())
    }

    /// Reads the document at `path` in the repository; with the digest that the registry says it has.
    async fn document(&self, endpoint: &Endpoint, path: &str) -> Result<(Option<Digest>, Bytes), Error> {
        let call = Call::new(Method::GET, endpoint.url(path)?).accept(manifest::ACCEPT);
        retrying(endpoint.mirror, || async {
            let _permit = self.registry.lookups.acquire().await;
            let response = self.try_ask(endpoint, &call).await?;
            let digest = content_digest(&response);
            let body = Body::new(response, MAX_MANIFEST_SIZE).whole().await?;
            metrics::fetched_bytes(self.registry.label(endpoint)).increment(body.len() as u64);
            Ok((digest, body.into()))
        })
        .await
    }

    /// Asks once, with authorization if the registry wants it.
    async fn try_ask(&self, endpoint: &Endpoint, call: &Call) -> Result<Response, Failure> {
        let send = |authorization: Option<HeaderValue>| async move {
            self.registry.transport.send(call, authorization.as_ref()).await
        };
        let response = self.authorized(endpoint, Access::Pull, call, send).await?;
        self.checked(call, response).await
    }

    /// Sends a call with what the registry accepted last, and once more if it is challenged.
    async fn authorized<F>(
        &self,
        endpoint: &Endpoint,
        access: Access,
        call: &Call,
        send: impl Fn(Option<HeaderValue>) -> F,
    ) -> Result<Response, Failure>
    where
        F: Future<Output = Result<Response, Failure>>,
    {
        let authorizations = &self.registry.authorizations;
        let response = send(authorizations.get(endpoint, access)).await?;
        // A challenge from where the registry led to is not the registry's, and gets no credentials.
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != call.url.origin() {
            return Ok(response);
        }
        authorizations.forget(endpoint, access);
        let authorization = Challenge { repository: self, endpoint, access }.answer(response).await?;
        let response = send(Some(authorization)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            authorizations.forget(endpoint, access);
        }
        Ok(response)
    }

    /// Lets pass the answers of a registry that does no ranges or no HEAD: it can be asked otherwise.
    async fn checked(&self, call: &Call, response: Response) -> Result<Response, Failure> {
        let otherwise = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => call.headers.contains_key(RANGE),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => call.method == Method::HEAD,
            _ => false,
        };
        if otherwise {
            return Ok(response);
        }
        transport::success(self.reference, response).await
    }
}

/// The digest that the registry says the manifest has.
fn content_digest(response: &Response) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
