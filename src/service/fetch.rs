//! Resolving and fetching one module: from the reference of a request to the verified bytes on disk.
//!
//! A module takes a place among those that are open when it is on disk, and not before: what is in the store never waits
//! behind what a registry has yet to send. A registry's own places bound how much is fetched from it at once. Where places are
//! scarce, the channels take turns.

use std::sync::Arc;

use tracing::debug_span;

use super::delivery::Fetched;
use crate::delivery::rules::transfer::Purpose;
use crate::delivery::rules::versions::Candidate;
use crate::error::Error;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::oci::host::RegistryUrl;
use crate::oci::pull::{Pulled, Puller};
use crate::oci::reference::{Reference, Version};
use crate::oci::wasm;
use crate::telemetry::Telemetry;
use crate::util::fair::{FairSemaphore, Party};

/// Resolves the reference, fetches and verifies the module: the manifest `root`, or what the reference means now.
pub(super) async fn fetch(
    app: &App,
    purpose: Purpose,
    root: Option<Digest>,
    registry: &RegistryUrl,
    places: &Arc<FairSemaphore>,
    puller: &Puller,
    telemetry: &Telemetry,
) -> Result<Fetched, Error> {
    telemetry.fetching(app, purpose);
    let party: Party = format!("{}/{}", app.channel.domain, app.channel.id).into();
    let pull = async |reference: &Reference| puller.pull_for(Arc::clone(&party), reference).await;
    let reference = Reference::parse(&app.name, registry)?;
    let module = match root {
        None => pull(&reference).await?,
        Some(root) => {
            let version = Reference { version: Version::Digest(root), ..reference.clone() };
            match pull(&version).await {
                // The interrupted version is gone.
                Err(error) if purpose == Purpose::Resume => {
                    telemetry.version_gone(app, root, &error);
                    pull(&reference).await?
                }
                fetched => fetched?,
            }
        }
    };
    let (place, module) = if let Some(place) = places.try_acquire(&party) {
        (place, module)
    } else {
        // It is not open while it waits. One that was evicted meanwhile is fetched again in its place.
        let version = Reference { version: Version::Digest(module.root), ..reference.clone() };
        drop(module);
        (places.acquire(&party).await, pull(&version).await?)
    };
    let Pulled { root, module: blob, .. } = module;
    let (digest, size) = (blob.digest(), blob.size());
    telemetry.fetched(app, digest, size);
    debug_span!("verify").in_scope(|| wasm::check(&blob))?;
    let may_move = matches!(reference.version, Version::Tag(_));
    Ok(Fetched { blob, candidate: Candidate { root, digest, size, may_move }, _place: place })
}
