//! `propeller-proxy inspect`: what a reference leads to, and what would be sent.

use std::collections::BTreeMap;

use clap::Args;
use propeller_proxy::delivery::DeliveryOptions;
use propeller_proxy::delivery::plan::ChunkPlan;
use propeller_proxy::oci::blob::Descriptor;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::pull::{Inspected, Puller, Resolved};
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::oci::store::StoreOptions;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Flags;
use crate::shutdown::unless_stopped;
use crate::terminal::printable;
use crate::verbosity::Verbosity;

const EXAMPLES: &[&str] = &[
    "propeller-proxy inspect localhost:5000/add:1.0",
    "propeller-proxy inspect ghcr.io/acme/add:1.0 --verify-key cosign.pub",
    "propeller-proxy inspect localhost:5000/add:1.0 --format json | jq -r .module.digest",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_REGISTRY))]
pub(crate) struct Options {
    /// What to look at; its own registry is asked if none is configured
    #[arg(value_name = "REF")]
    reference: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<(RegistryOptions, StoreOptions, DeliveryOptions)>,
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    options.verbosity.start_log();
    let (registry, store, delivery) = options.settings.load_for(&options.reference)?;
    let reference = Reference::parse(&options.reference, &registry.url)?;
    let inspected = async { Ok(Puller::new(&registry, &store)?.inspect(&reference).await?) };
    let inspected = unless_stopped(&stop, inspected).await?;
    let plan = ChunkPlan::new(inspected.size, delivery.chunk_size);
    match options.format {
        Format::Text => output::print_line(&text(&reference, &inspected, &plan))?,
        Format::Json => output::print_line(&output::json(&json(&reference, &inspected, &plan)))?,
    }
    Ok(exit::SUCCESS)
}

/// What the publisher says of the manifest that names the layer.
fn annotations(Inspected { root, chosen, .. }: &Inspected) -> &BTreeMap<String, String> {
    &chosen.as_ref().unwrap_or(root).annotations
}

fn text(reference: &Reference, inspected: &Inspected, plan: &ChunkPlan) -> String {
    let Inspected { root, chosen, shape, layer, title, digest, size, kind, signature } = inspected;
    let resolved =
        |Resolved { media_type, digest, size, .. }: &Resolved| format!("{digest}, {media_type}, {size} bytes");
    let title = title.as_ref().map(|title| format!(", {title:?}")).unwrap_or_default();
    let Descriptor { digest: layer_digest, media_type, size: layer_size } = layer;
    let kind = kind.name();
    let (manifest, index) = chosen.as_ref().map_or((root, None), |chosen| (chosen, Some(root)));
    let mut lines = vec![("reference", reference.to_string())];
    lines.extend(index.map(|index| ("index", resolved(index))));
    lines.extend([
        ("manifest", resolved(manifest)),
        ("shape", (*shape).to_owned()),
        ("layer", format!("{layer_digest}, {media_type}, {layer_size} bytes{title}")),
        ("module", format!("{digest}, {kind}, {size} bytes")),
        ("signature", signature.name().to_owned()),
        ("chunks", format!("{} of at most {} bytes", plan.total_chunks(), plan.chunk_size())),
    ]);
    lines.extend(annotations(inspected).iter().map(|(name, value)| ("annotation", format!("{name}={value}"))));
    let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name:<11}{}", printable(value))).collect();
    lines.join("\n")
}

fn json(reference: &Reference, inspected: &Inspected, plan: &ChunkPlan) -> Value {
    let Inspected { root, chosen, shape, layer, title, digest, size, kind, signature } = inspected;
    let resolved = |Resolved { media_type, digest, size, .. }: &Resolved| json!({ "digest": digest, "media_type": media_type, "size": size });
    json!({
        "reference": reference.to_string(),
        "index": chosen.as_ref().map(|_| resolved(root)),
        "manifest": resolved(chosen.as_ref().unwrap_or(root)),
        "shape": shape,
        "layer": { "digest": layer.digest, "media_type": layer.media_type, "size": layer.size, "title": title },
        "module": { "digest": digest, "size": size, "kind": kind.name() },
        "signature": signature.name(),
        "chunks": { "chunk_size": plan.chunk_size(), "total": plan.total_chunks() },
        "annotations": annotations(inspected),
    })
}
