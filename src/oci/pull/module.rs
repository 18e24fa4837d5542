//! The path of a pull: select the layer, check its signatures, fetch it, extract the module.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{Instrument, debug_span};

use super::context::Pull;
use super::negative_cache::Operation;
use super::puller::Puller;
use super::select::Selection;
use crate::error::Error;
use crate::oci::blob::{Blob, Descriptor};
use crate::oci::digest::Digest;
use crate::oci::manifest::SelectedLayer;
use crate::oci::reference::Reference;
use crate::oci::registry::Progress;

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

impl Puller {
    /// The module of `reference`, verified.
    ///
    /// # Errors
    /// Those of the stages resolve and fetch; [`Error::Denied`] if the policy does not permit the reference.
    pub async fn pull(&self, reference: &Reference) -> Result<Pulled, Error> {
        self.pull_watched(reference, Arc::default()).await
    }

    /// As [`Puller::pull`]; `progress` shows the download.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub async fn pull_watched(&self, reference: &Reference, progress: Arc<Progress>) -> Result<Pulled, Error> {
        let pull = self.start(reference, progress).await?;
        pull.run(Operation::Pull, Box::pin(pull.module())).await
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
}
