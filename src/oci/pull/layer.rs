//! From a layer to the module: fetch it, detect an archive, extract the module.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span, info};

use super::puller::{Pull, Puller};
use crate::error::Error;
use crate::oci::archive::{ArchiveFormat, ArchivedLayer, ModulePath};
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::manifest::{Content, MAX_MANIFEST_SIZE, command};
use crate::oci::refusal::unsupported;
use crate::oci::registry::Progress;
use crate::oci::wasm::has_wasm_extension;
use crate::util::int;

/// The module's name in images of the compat variant.
const COMPAT_FILE: &str = "plugin.wasm";

impl Pull<'_> {
    /// The module that a layer is, or has inside.
    pub(super) async fn module_in(&self, layer: &Descriptor, content: Content) -> Result<Blob, Error> {
        self.check_size(layer)?;
        let fetch = debug_span!("fetch", digest = %layer.digest, size = int(layer.size));
        let blob = self.blob(layer, self.progress).instrument(fetch).await?;
        self.unpack(blob, content).instrument(debug_span!("unpack")).await
    }

    /// Refuses a layer that exceeds the limit of modules.
    pub(super) fn check_size(&self, layer: &Descriptor) -> Result<(), Error> {
        let limit = self.puller.options.max_module_size;
        if layer.size > limit {
            return Err(Error::TooLarge { object: format!("layer {}", layer.digest), limit });
        }
        Ok(())
    }

    /// A blob: from the store, or from the registry, once for all that need it; `progress` shows its download.
    async fn blob(&self, blob: &Descriptor, progress: Option<&Progress>) -> Result<Blob, Error> {
        let Descriptor { digest, size, .. } = *blob;
        let _flight = self.puller.single_flight.enter(&self.scope, digest).await;
        if let Some(stored) = self.scope.blob(digest).await? {
            blob.require_size(stored.size())?;
            return Ok(stored);
        }
        self.permit_request(digest)?;
        info!(event = "fetching", reference = %self.reference, %digest, size = int(size), media_type = blob.media_type, "fetching");
        self.repository.fetch(blob, &self.scope, progress).await
    }

    /// The content of a small blob.
    pub(super) async fn small_blob(&self, blob: &Descriptor) -> Result<Bytes, Error> {
        if blob.size > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { object: blob.digest.to_string(), limit: MAX_MANIFEST_SIZE });
        }
        self.scope.read(self.blob(blob, None).await?).await
    }

    async fn unpack(&self, layer: Blob, content: Content) -> Result<Blob, Error> {
        if content == Content::Module {
            return Ok(layer);
        }
        match self.archive_format(&layer).await? {
            Some(format) => self.extract(layer, format, self.module_path(content).await?).await,
            None => self.bare_module(layer, content),
        }
    }

    async fn archive_format(&self, layer: &Blob) -> Result<Option<ArchiveFormat>, Error> {
        let layer = layer.clone();
        self.scope.blocking(move |_| ArchiveFormat::of(&layer)).await
    }

    /// A layer that is no archive, unless the module's path in one is required.
    fn bare_module(&self, layer: Blob, content: Content) -> Result<Blob, Error> {
        let Content::ModuleOrArchive(Some(path)) = content else { return Ok(layer) };
        let reason = format!("its layer {} is no archive with {path:?} in it", layer.digest());
        Err(unsupported(self.reference, &reason))
    }

    async fn module_path(&self, content: Content) -> Result<ModulePath, Error> {
        let (config, is_compat) = match content {
            Content::Module => return Ok(ModulePath::default()),
            Content::ModuleOrArchive(required) => return Ok(ModulePath { required, preferred: Vec::new() }),
            Content::ImageLayer { config, is_compat } => (config, is_compat),
        };
        // A runtime may be named before the module.
        let (modules, others): (Vec<_>, Vec<_>) =
            command(&self.small_blob(&config).await?).into_iter().partition(|word| has_wasm_extension(word));
        let compat = is_compat.then(|| COMPAT_FILE.to_owned());
        Ok(ModulePath { required: None, preferred: compat.into_iter().chain(modules).chain(others).collect() })
    }

    /// Extracts the module from an archive, unless another pull has done that and the module is still in use. Dropping
    /// this cancels it.
    async fn extract(&self, layer: Blob, format: ArchiveFormat, path: ModulePath) -> Result<Blob, Error> {
        let Puller { unpacked, extracting, options, .. } = self.puller;
        let mut unpacked_before = unpacked.enter(layer.digest(), &path).await;
        if let Some(module) = unpacked_before.upgrade() {
            return Ok(module);
        }
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let layer = Arc::new(ArchivedLayer { blob: layer, format, limit: options.max_module_size, cancelled });
        let candidate = {
            let _permit = extracting.acquire(&self.party).await;
            let (layer, reference) = (Arc::clone(&layer), self.reference.clone());
            self.scope.blocking(move |_| Ok(layer.find(&reference, &path))).await??
        };
        let space = unpacked.space(candidate.size).await;
        let _permit = extracting.acquire(&self.party).await;
        let reference = self.reference.clone();
        let extracted = self.scope.blocking(move |scope| {
            let file = scope.scratch()?;
            Ok(layer.extract(&reference, &candidate, file, space))
        });
        let module = extracted.await??;
        *unpacked_before = module.downgrade();
        Ok(module)
    }
}
