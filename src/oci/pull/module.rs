//! The module of a reference: select its layer, check the signatures, then fetch and unpack the layer; or inspect it, with
//! as few bytes fetched as that takes.

use std::collections::BTreeMap;

use tracing::{Instrument, debug_span};

use super::puller::{Operation, Pull, Puller};
use super::resolve::Resolved;
use crate::error::Error;
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Content, Image, Manifest, SelectedLayer};
use crate::oci::reference::Reference;
use crate::oci::refusal::unsupported;
use crate::oci::registry::Progress;
use crate::oci::wasm::{self, Kind};
use crate::util::fair::Party;

/// A module on disk.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The digest of the manifest or index of the reference.
    pub root: Digest,
    /// The module, verified.
    pub module: Blob,
    /// The layer that is the module, or had it inside.
    pub layer: Descriptor,
    /// The publisher's annotations of the manifest that names the layer, unchanged; 64 of them and 4 KiB at most,
    /// others are omitted.
    pub annotations: BTreeMap<String, String>,
    /// The kind of artifact: the name of a [`Shape`](crate::oci::artifact::Shape), or `wasm-layer` for a layer of
    /// another Wasm type.
    pub shape: &'static str,
}

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

/// The selected layer, and the manifests that lead to it.
struct Selection {
    layer: SelectedLayer,
    /// The manifest or index of the reference.
    root: Resolved,
    /// The manifest in the index, if the root is an index.
    child: Option<Resolved>,
}

impl Selection {
    /// The digests under which the module may be signed.
    fn digests(&self) -> Vec<Digest> {
        [Some(&self.root), self.child.as_ref()].into_iter().flatten().map(|resolved| resolved.digest).collect()
    }
}

impl Puller {
    /// The module of `reference`, verified.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::Denied`] if the policy does not permit the reference.
    pub async fn pull(&self, reference: &Reference) -> Result<Pulled, Error> {
        self.pull_for(Party::default(), reference).await
    }

    /// As [`Puller::pull`], for one of those that share the places at registries.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn pull_for(&self, party: Party, reference: &Reference) -> Result<Pulled, Error> {
        let pull = self.start(reference, party, None).await?;
        pull.run(Operation::Pull, Box::pin(pull.module())).await
    }

    /// As [`Puller::pull`]; `progress` shows the download.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn pull_watched(&self, reference: &Reference, progress: &Progress) -> Result<Pulled, Error> {
        let pull = self.start(reference, Party::default(), Some(progress)).await?;
        pull.run(Operation::Pull, Box::pin(pull.module())).await
    }

    /// Inspects `reference`. Of a layer that is the module only the first bytes are fetched, which are not verified; an
    /// archive is fetched and extracted.
    ///
    /// # Errors
    /// As [`Puller::pull`], and [`Error::NotWasm`]; but the outcome for signatures is part of the result.
    pub async fn inspect(&self, reference: &Reference) -> Result<Inspected, Error> {
        let pull = self.start(reference, Party::default(), None).await?;
        pull.run(Operation::Inspect, Box::pin(pull.inspection())).await
    }
}

impl Pull<'_> {
    async fn module(&self) -> Result<Pulled, Error> {
        let selection = self.select_signed().instrument(debug_span!("resolve")).await?;
        let Selection { layer: SelectedLayer { layer, content, shape, .. }, root, child } = selection;
        let module = self.module_in(&layer, content).await?;
        let (root, annotations) = (root.digest, child.unwrap_or(root).annotations);
        Ok(Pulled { root, module, layer, annotations, shape })
    }

    async fn select_signed(&self) -> Result<Selection, Error> {
        let selection = self.select().await?;
        self.check_signatures(&selection.digests()).await?;
        Ok(selection)
    }

    async fn select(&self) -> Result<Selection, Error> {
        let select = |image: &Image, root, child| {
            Ok(Selection { layer: manifest::select_layer(self.reference, image)?, root, child })
        };
        let (root, manifest) = self.resolve().await?.describe(self.reference)?;
        let child = match manifest {
            Manifest::Image(image) => return select(&image, root, None),
            Manifest::Index(index) => manifest::select_manifest(self.reference, &index)?,
        };
        match self.listed(&child).await?.describe(self.reference)? {
            (child, Manifest::Image(image)) => select(&image, root, Some(child)),
            (_, Manifest::Index(_)) => Err(unsupported(self.reference, "its index leads to another index")),
        }
    }

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
            layer.require_size(stored.size())?;
            return wasm::start_of(&stored);
        }
        self.permit_request(layer.digest)?;
        self.repository.preamble(layer).await
    }
}
