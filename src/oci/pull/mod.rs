//! Pulling: from a reference to the verified module on disk, by way of the store. And the other way, pushing.

mod flights;
mod inspect;
mod push;
mod question;
mod signatures;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span, info, warn};

use self::flights::Flights;
pub use self::inspect::{Inspected, SignatureState};
use self::question::Question;
use crate::error::Error;
use crate::oci::archive::{Layer, Packing, Wanted};
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, About, Choice, Form, Image, Manifest, is_named_wasm};
use crate::oci::options::{PullPolicy, RegistryOptions};
use crate::oci::policy::Policy;
use crate::oci::reference::{Reference, Version};
use crate::oci::registry::{MAX_MANIFEST_SIZE, Progress, Registry, Repository};
use crate::oci::store::StoreOptions;
use crate::oci::store::{Remembered, Scope, Store};
use crate::util::fields::int;
use crate::util::ttl_cache::TtlCache;

/// Refusals that are remembered.
const MAX_REFUSALS: usize = 1024;
/// Modules out of archives that are on disk at once: unlike what is in the store, they take space until they are sent.
const MAX_UNPACKED: usize = 64;

/// A module on disk.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The digest of the manifest or index that the reference led to.
    pub root: Digest,
    /// The module, verified.
    pub module: Blob,
    /// The layer that the module is, or was taken out of.
    pub layer: Descriptor,
    /// What the publisher says of the manifest that names the layer, as it came; 64 annotations and 4 KiB at most, others
    /// are left out.
    pub annotations: BTreeMap<String, String>,
    /// What kind of artifact it was found to be: the name of a [`Shape`](crate::oci::artifact::Shape), or `wasm-layer` for a
    /// layer of another Wasm type.
    pub shape: &'static str,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Of the manifest or index.
    pub media_type: String,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What the publisher says of it, as it came; 64 annotations and 4 KiB at most, others are left out.
    pub annotations: BTreeMap<String, String>,
}

/// Brings modules to disk, each once for any number of askers.
#[derive(Debug)]
pub struct Puller {
    config: RegistryOptions,
    registry: Registry,
    store: Arc<Store>,
    /// Layers that are unpacked at once: as many as are fetched.
    unpacking: Semaphore,
    /// Modules that were unpacked and are still there.
    unpacked: Arc<Semaphore>,
    flights: Flights,
    /// What was refused lately, by question, reference and the repository's identity.
    refusals: TtlCache<(Question, String, Digest), Error>,
}

impl Puller {
    /// A puller with these registries and this store, which keeps to the policy of the registries' configuration.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or HTTP proxies are unusable, [`Error::Disk`] if the store is.
    pub fn new(config: &RegistryOptions, store: &StoreOptions) -> Result<Self, Error> {
        Ok(Self {
            registry: Registry::new(config, Policy::new(config))?,
            store: Store::open(store)?,
            config: config.clone(),
            unpacking: Semaphore::new(config.max_fetches),
            unpacked: Arc::new(Semaphore::new(MAX_UNPACKED)),
            flights: Flights::default(),
            refusals: TtlCache::new(MAX_REFUSALS),
        })
    }

    /// The module behind `reference`, verified.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::Denied`] if the policy does not permit the reference.
    pub async fn pull(&self, reference: &Reference) -> Result<Pulled, Error> {
        self.pull_watched(reference, Arc::default()).await
    }

    /// As [`Puller::pull`], and `progress` tells how far its download is.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn pull_watched(&self, reference: &Reference, progress: Arc<Progress>) -> Result<Pulled, Error> {
        let repository = self.registry.repository(reference).await?.watched_by(progress);
        let pull = self.begin(reference, &repository);
        pull.answer(Question::Module, Box::pin(pull.module())).await
    }

    /// What `reference` means now, by the rules of pulling. Whether it is signed is not asked.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        let repository = self.registry.repository(reference).await?;
        let pull = self.begin(reference, &repository);
        pull.answer(Question::Meaning, Box::pin(pull.meaning())).await
    }

    /// The registries.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn begin<'a>(&'a self, reference: &'a Reference, repository: &'a Repository<'a>) -> Pull<'a> {
        let scope = self.store.scope(&repository.identity());
        Pull { puller: self, reference, repository, scope, policy: self.config.pull_policy }
    }
}

/// One pull.
#[derive(Debug, Clone)]
struct Pull<'a> {
    puller: &'a Puller,
    reference: &'a Reference,
    repository: &'a Repository<'a>,
    scope: Scope,
    policy: PullPolicy,
}

/// A manifest, and the digest that it is known by.
struct Document {
    digest: Digest,
    bytes: Bytes,
}

impl Document {
    fn parsed(self, reference: &Reference) -> Result<(Digest, Manifest), Error> {
        Ok((self.digest, manifest::parse(reference, &self.bytes)?))
    }

    fn described(self, reference: &Reference) -> Result<(Resolved, Manifest), Error> {
        let Self { digest, bytes } = self;
        let manifest = manifest::parse(reference, &bytes)?;
        let About { media_type, annotations } = About::read(&bytes, &manifest);
        Ok((Resolved { media_type, digest, size: bytes.len() as u64, annotations }, manifest))
    }
}

/// Where a reference leads.
struct Found {
    choice: Choice,
    /// The manifest or index that it means.
    root: Resolved,
    /// The index's manifest, if it is an index.
    child: Option<Resolved>,
}

impl Found {
    /// The digests under which it may be signed.
    fn digests(&self) -> Vec<Digest> {
        [Some(&self.root), self.child.as_ref()].into_iter().flatten().map(|resolved| resolved.digest).collect()
    }
}

impl Pull<'_> {
    /// What the reference means.
    async fn meaning(&self) -> Result<Resolved, Error> {
        let (meaning, _) = self.resolve().await?.described(self.reference)?;
        Ok(meaning)
    }

    /// The path from the reference to the module.
    async fn module(&self) -> Result<Pulled, Error> {
        let found = self.found().instrument(debug_span!("resolve")).await?;
        let Found { choice: Choice { layer, form, kind, .. }, root, child } = found;
        let module = self.module_in(&layer, form).await?;
        let (root, annotations) = (root.digest, child.unwrap_or(root).annotations);
        Ok(Pulled { root, module, layer, annotations, shape: kind })
    }

    /// The layer that the reference leads to, vouched for.
    async fn found(&self) -> Result<Found, Error> {
        let found = self.choose().await?;
        self.check_signatures(&found.digests()).await?;
        Ok(found)
    }

    /// The module that a layer is, or has inside.
    async fn module_in(&self, layer: &Descriptor, form: Form) -> Result<Blob, Error> {
        self.check_size(layer)?;
        self.repository.watch(layer.digest);
        let fetch = debug_span!("fetch", digest = %layer.digest, size = int(layer.size));
        let blob = self.blob(layer).instrument(fetch).await?;
        self.unpack(blob, form).instrument(debug_span!("unpack")).await
    }

    /// The manifest or index that the reference means now.
    async fn resolve(&self) -> Result<Document, Error> {
        match &self.reference.version {
            Version::Tag(tag) => self.tagged(tag).await,
            Version::Digest(digest) => {
                if self.policy == PullPolicy::Always {
                    self.confirm(*digest).await?;
                }
                self.document(*digest).await
            }
        }
    }

    /// What a tag means: as remembered while that is fresh, else as the registry says.
    async fn tagged(&self, tag: &str) -> Result<Document, Error> {
        let name = format!("{}/{}:{tag}", self.reference.registry, self.reference.repository);
        let remembered = self.scope.recall(&name).await?;
        let asked = match remembered {
            Some(Remembered { digest, .. }) if self.policy == PullPolicy::Never => return self.document(digest).await,
            None if self.policy == PullPolicy::Never => return Err(Error::NotCached { object: name }),
            Some(known) if self.policy != PullPolicy::Always && known.is_fresh(self.puller.config.tag_ttl) => {
                return self.document(known.digest).await;
            }
            known => self.ask_for_tag(tag, known.map(|known| known.digest)).await,
        };
        match (asked, remembered) {
            // Where that is not asked for, it is not noted when it was confirmed last: the note takes longer than the answer.
            (Ok(document), Some(known)) if known.digest == document.digest && self.puller.config.tag_ttl.is_zero() => {
                Ok(document)
            }
            (Ok(document), _) => {
                self.scope.remember(&name, document.digest).await?;
                Ok(document)
            }
            (Err(error @ (Error::RegistryUnreachable { .. } | Error::RegistryAnswer { .. })), Some(known))
                if self.policy == PullPolicy::IfNotPresent =>
            {
                warn!(event = "tag-from-memory", tag = name, digest = %known.digest, "remembered: the registry does not say what the tag means: {error}");
                self.document(known.digest).await
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Asks the registry what a tag means; for no more than its digest, if one is known.
    async fn ask_for_tag(&self, tag: &str, known: Option<Digest>) -> Result<Document, Error> {
        if let Some(known) = known
            && let Some(digest) = self.repository.head(tag, known).await?
        {
            return self.document(digest).await;
        }
        self.fetch_manifest(tag).await
    }

    /// Asks the registry whether it still has this digest, and shows it to these credentials.
    async fn confirm(&self, digest: Digest) -> Result<(), Error> {
        let name = digest.to_string();
        match self.repository.head(&name, digest).await? {
            Some(said) if said == digest => Ok(()),
            Some(other) => Err(Error::DigestMismatch { object: name, actual: other.to_string() }),
            None => self.fetch_manifest(&name).await.map(drop),
        }
    }

    /// Fetches the manifest of a tag or digest into the store.
    async fn fetch_manifest(&self, version: &str) -> Result<Document, Error> {
        let bytes = self.repository.manifest(version).await?;
        self.keep(bytes).await
    }

    /// The manifest with this digest.
    async fn document(&self, digest: Digest) -> Result<Document, Error> {
        let _flight = self.puller.flights.enter(&self.scope, digest).await;
        if let Some(blob) = self.scope.blob(digest).await? {
            return Ok(Document { digest, bytes: self.scope.read(blob).await? });
        }
        self.may_ask(digest)?;
        self.fetch_manifest(&digest.to_string()).await
    }

    async fn keep(&self, bytes: Bytes) -> Result<Document, Error> {
        Ok(Document { digest: self.scope.keep(bytes.clone()).await?, bytes })
    }

    /// The layer that the reference leads to.
    async fn choose(&self) -> Result<Found, Error> {
        let found = |image: &Image, root, child| {
            let choice = manifest::choose(self.reference, image)?;
            Ok(Found { choice, root, child })
        };
        let (root, manifest) = self.resolve().await?.described(self.reference)?;
        let child = match manifest {
            Manifest::Image(image) => return found(&image, root, None),
            Manifest::Index(index) => manifest::for_wasm(self.reference, &index)?,
        };
        match self.document(child.digest).await?.described(self.reference)? {
            (child, Manifest::Image(image)) => found(&image, root, Some(child)),
            (_, Manifest::Index(_)) => Err(manifest::unsupported(self.reference, "its index leads to another index")),
        }
    }

    /// A blob: from the store, or from the registry, once for all who want it.
    async fn blob(&self, blob: &Descriptor) -> Result<Blob, Error> {
        let Descriptor { digest, size, .. } = *blob;
        let _flight = self.puller.flights.enter(&self.scope, digest).await;
        if let Some(stored) = self.scope.blob(digest).await? {
            if stored.size() == size {
                return Ok(stored);
            }
            return Err(Error::SizeMismatch { object: digest.to_string(), expected: size, actual: stored.size() });
        }
        self.may_ask(digest)?;
        info!(event = "fetching", reference = %self.reference, %digest, size = int(size), media_type = blob.media_type, "fetching");
        self.repository.fetch(blob, &self.scope).await
    }

    /// The content of a small blob.
    async fn small_blob(&self, blob: &Descriptor) -> Result<Bytes, Error> {
        if blob.size > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { object: blob.digest.to_string(), limit: MAX_MANIFEST_SIZE });
        }
        self.scope.read(self.blob(blob).await?).await
    }

    /// The module that the layer is, or has inside.
    async fn unpack(&self, layer: Blob, form: Form) -> Result<Blob, Error> {
        let (path, image) = match form {
            Form::Module => return Ok(layer),
            Form::Either(path) => (path, None),
            Form::Image { config, compat } => (None, Some((config, compat))),
        };
        let (digest, looked_at) = (layer.digest(), layer.clone());
        let Some(packing) = self.scope.blocking(move |_| Packing::of(&looked_at)).await? else {
            let Some(path) = path else { return Ok(layer) };
            let reason = format!("its layer {digest} is no archive with {path:?} in it");
            return Err(manifest::unsupported(self.reference, &reason));
        };
        let mut preferred = Vec::new();
        if let Some((config, compat)) = image {
            preferred.extend(compat.then(|| "plugin.wasm".to_owned()));
            // A runtime may be named before the module.
            let (modules, others): (Vec<_>, Vec<_>) =
                manifest::command(&self.small_blob(&config).await?).into_iter().partition(|word| is_named_wasm(word));
            preferred.extend(modules.into_iter().chain(others));
        }
        let wanted = Wanted { path, preferred };
        let place = Arc::clone(&self.puller.unpacked).acquire_owned().await;
        let _permit = self.puller.unpacking.acquire().await;
        let stop = CancellationToken::new();
        let layer = Layer { blob: layer, packing, limit: self.puller.config.max_module_size, stop: stop.clone() };
        let _stop = stop.drop_guard();
        let reference = self.reference.clone();
        let unpacked = self.scope.blocking(move |scope| {
            let file = scope.scratch()?;
            Ok(layer.unpack(&reference, &wanted, file))
        });
        let module = unpacked.await??;
        Ok(match place {
            Ok(place) => module.in_place(place),
            Err(_) => module,
        })
    }

    /// Refuses to ask the registry where the store is to be enough.
    fn may_ask(&self, digest: Digest) -> Result<(), Error> {
        if self.policy == PullPolicy::Never {
            return Err(Error::NotCached { object: digest.to_string() });
        }
        Ok(())
    }
}

/// What there is; nothing where the registry or the store does not know it.
fn known<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::UnknownImage { .. } | Error::NotCached { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
