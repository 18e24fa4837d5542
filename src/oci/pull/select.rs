//! From a reference to the layer that holds the module.

use super::context::Pull;
use super::document::Resolved;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Image, Manifest, SelectedLayer};
use crate::oci::refusal::unsupported;

/// The selected layer, and the manifests that lead to it.
pub(super) struct Selection {
    pub(super) layer: SelectedLayer,
    /// The manifest or index of the reference.
    pub(super) root: Resolved,
    /// The manifest in the index, if the root is an index.
    pub(super) child: Option<Resolved>,
}

impl Selection {
    /// The digests under which the module may be signed.
    pub(super) fn digests(&self) -> Vec<Digest> {
        [Some(&self.root), self.child.as_ref()].into_iter().flatten().map(|resolved| resolved.digest).collect()
    }
}

impl Pull<'_> {
    pub(super) async fn select(&self) -> Result<Selection, Error> {
        let select = |image: &Image, root, child| {
            Ok(Selection { layer: manifest::select_layer(self.reference, image)?, root, child })
        };
        let (root, manifest) = self.resolve().await?.describe(self.reference)?;
        let child = match manifest {
            Manifest::Image(image) => return select(&image, root, None),
            Manifest::Index(index) => manifest::select_manifest(self.reference, &index)?,
        };
        match self.document(child.digest).await?.describe(self.reference)? {
            (child, Manifest::Image(image)) => select(&image, root, Some(child)),
            (_, Manifest::Index(_)) => Err(unsupported(self.reference, "its index leads to another index")),
        }
    }
}
