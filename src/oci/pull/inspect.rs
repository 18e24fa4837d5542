//! Inspecting a reference: what it leads to, with as few bytes fetched as that takes.

use std::sync::Arc;

use super::context::Pull;
use super::document::Resolved;
use super::negative_cache::Operation;
use super::puller::Puller;
use super::select::Selection;
use crate::error::Error;
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Content, SelectedLayer};
use crate::oci::reference::Reference;
use crate::oci::wasm::{self, Kind};

/// The artifact and module of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The manifest or index of the reference.
    pub root: Resolved,
    /// The manifest selected from the index, if it is an index.
    pub chosen: Option<Resolved>,
    /// The kind of artifact, as in [`Pulled`](crate::oci::pull::Pulled).
    pub shape: &'static str,
    /// The layer that is the module, or has it inside.
    pub layer: Descriptor,
    /// The file name that clients give the layer when they save it.
    pub title: Option<String>,
    /// The SHA-256 of the module.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Module or component, by its first bytes.
    pub kind: Kind,
    /// Whether it is signed.
    pub signature: SignatureState,
}

/// Whether a module is signed by a configured key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureState {
    /// No keys are configured.
    NotChecked,
    /// A configured key signed it.
    Verified,
    /// There is no signature.
    Unsigned,
    /// There are signatures, but none by a configured key.
    Bad,
}

impl SignatureState {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotChecked => "not-checked",
            Self::Verified => "verified",
            Self::Unsigned => "unsigned",
            Self::Bad => "bad-signature",
        }
    }
}

impl Puller {
    /// Inspects `reference`. Of a layer that is the module only the first bytes are fetched, which are not verified; an
    /// archive is fetched and extracted.
    ///
    /// # Errors
    /// As [`Puller::pull`], and [`Error::NotWasm`]; but the outcome for signatures is part of the result.
    pub async fn inspect(&self, reference: &Reference) -> Result<Inspected, Error> {
        let pull = self.start(reference, Arc::default()).await?;
        pull.run(Operation::Inspect, Box::pin(pull.inspection())).await
    }
}

impl Pull<'_> {
    async fn inspection(&self) -> Result<Inspected, Error> {
        let selection = self.select().await?;
        let signature = self.signature_state(&selection.digests()).await?;
        let Selection { layer: SelectedLayer { layer, content, shape, title }, root, child: chosen } = selection;
        self.check_size(&layer)?;
        let start = self.preamble(&layer).await?;
        let is_module = match content {
            Content::Module => true,
            Content::ModuleOrArchive(None) | Content::ImageLayer { .. } => wasm::is_wasm(&start),
            Content::ModuleOrArchive(Some(_)) => false,
        };
        let (digest, size, start) = if is_module {
            (layer.digest, layer.size, start)
        } else {
            let module = self.module_in(&layer, content).await?;
            (module.digest(), module.size(), wasm::start_of(&module)?)
        };
        let kind = wasm::check_start(digest, &start)?;
        Ok(Inspected { root, chosen, shape, layer, title, digest, size, kind, signature })
    }

    async fn signature_state(&self, digests: &[Digest]) -> Result<SignatureState, Error> {
        if self.puller.options.verify_keys.is_empty() {
            return Ok(SignatureState::NotChecked);
        }
        match self.check_signatures(digests).await {
            Ok(()) => Ok(SignatureState::Verified),
            Err(Error::Unsigned { .. }) => Ok(SignatureState::Unsigned),
            Err(Error::BadSignature { .. }) => Ok(SignatureState::Bad),
            Err(error) => Err(error),
        }
    }

    /// The first bytes of a layer: from the store, or as the registry sends them.
    async fn preamble(&self, layer: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Some(stored) = self.scope.blob(layer.digest).await? {
            return wasm::start_of(&stored);
        }
        self.permit_request(layer.digest)?;
        self.repository.preamble(layer).await
    }
}
