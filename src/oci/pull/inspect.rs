//! Looking at what a reference leads to, with as little of it fetched as that takes.

use super::question::Question;
use super::{Found, Pull, Puller, Resolved};
use crate::error::Error;
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Choice, Form};
use crate::oci::reference::Reference;
use crate::oci::wasm::{self, Kind};

/// What is behind a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The manifest or index that it means.
    pub root: Resolved,
    /// The manifest that was chosen, if it means an index.
    pub chosen: Option<Resolved>,
    /// What kind of artifact it is, as in [`Pulled`](super::Pulled).
    pub shape: &'static str,
    /// The layer that the module is, or is in.
    pub layer: Descriptor,
    /// The file name that clients give the layer when they save it.
    pub title: Option<String>,
    /// The SHA-256 of the module.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is, by its first bytes.
    pub kind: Kind,
    /// Whether it is signed.
    pub signature: SignatureState,
}

/// Whether something is signed by one of the configured keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureState {
    /// No keys are configured.
    NotChecked,
    /// It is.
    Verified,
    /// There is no signature.
    Unsigned,
    /// There are signatures, and none of them is by a configured key.
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
    /// Looks at what `reference` leads to. A layer that is the module is not fetched but for its first bytes, which nothing
    /// vouches for; an archive is, to see what is in it.
    ///
    /// # Errors
    /// As [`Puller::pull`], and [`Error::NotWasm`], but those of signatures: these are told.
    pub async fn inspect(&self, reference: &Reference) -> Result<Inspected, Error> {
        let repository = self.registry.repository(reference).await?;
        let pull = self.begin(reference, &repository);
        pull.answer(Question::Inspection, Box::pin(pull.inspection())).await
    }
}

impl Pull<'_> {
    async fn inspection(&self) -> Result<Inspected, Error> {
        let found = self.choose().await?;
        let signature = self.signature_state(&found.digests()).await?;
        let Found { choice: Choice { layer, form, kind: shape, title }, root, child: chosen } = found;
        self.check_size(&layer)?;
        let start = self.preamble(&layer).await?;
        let is_module = match form {
            Form::Module => true,
            Form::Either(None) | Form::Image { .. } => wasm::is_wasm(&start),
            Form::Either(Some(_)) => false,
        };
        let (digest, size, start) = if is_module {
            (layer.digest, layer.size, start)
        } else {
            let module = self.module_in(&layer, form).await?;
            (module.digest(), module.size(), wasm::start_of(&module)?)
        };
        let kind = wasm::check_start(digest, &start)?;
        Ok(Inspected { root, chosen, shape, layer, title, digest, size, kind, signature })
    }

    /// Whether a layer is not larger than modules may be.
    pub(super) fn check_size(&self, layer: &Descriptor) -> Result<(), Error> {
        let limit = self.puller.config.max_module_size;
        if layer.size > limit {
            return Err(Error::TooLarge { object: format!("layer {}", layer.digest), limit });
        }
        Ok(())
    }

    async fn signature_state(&self, digests: &[Digest]) -> Result<SignatureState, Error> {
        if self.puller.config.verify_keys.is_empty() {
            return Ok(SignatureState::NotChecked);
        }
        match self.check_signatures(digests).await {
            Ok(()) => Ok(SignatureState::Verified),
            Err(Error::Unsigned { .. }) => Ok(SignatureState::Unsigned),
            Err(Error::BadSignature { .. }) => Ok(SignatureState::Bad),
            Err(error) => Err(error),
        }
    }

    /// The first bytes of a layer: from the store, or as the registry shows them.
    async fn preamble(&self, layer: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Some(stored) = self.scope.blob(layer.digest).await? {
            return wasm::start_of(&stored);
        }
        self.may_ask(layer.digest)?;
        self.repository.preamble(layer).await
    }
}
