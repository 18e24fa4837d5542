//! `propeller-proxy push`: packs a module and brings it to a registry.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use propeller_proxy::oci::artifact::{Artifact, Shape};
use propeller_proxy::oci::blob::Descriptor;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::pull::Puller;
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::oci::store::StoreOptions;
use propeller_proxy::oci::wasm::is_wasm;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Flags;
use crate::shutdown::unless_stopped;
use crate::verbosity::Verbosity;

const EXAMPLES: &[&str] = &[
    "propeller-proxy push add.wasm localhost:5000/add:1.0",
    "propeller-proxy push add.wasm ghcr.io/acme/add:1.0 --shape wasm-artifact --authenticate true",
    "propeller-proxy inspect localhost:5000/add@$(propeller-proxy push add.wasm localhost:5000/add:1.0)",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_REGISTRY))]
pub(crate) struct Options {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to push it; to its own registry if none is configured
    #[arg(value_name = "REF")]
    reference: String,
    /// How to pack it
    #[arg(long, default_value = Shape::WasmToOci.name(), value_parser = shape())]
    shape: Shape,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<(RegistryOptions, StoreOptions)>,
}

fn shape() -> impl TypedValueParser<Value = Shape> {
    let names = PossibleValuesParser::new(Shape::ALL.map(Shape::name));
    names.try_map(|name| name.parse().map_err(|()| "it is no shape"))
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    let Options { file, shape, format, verbosity, .. } = &options;
    verbosity.start_log();
    let (registry, store) = options.settings.load_for(&options.reference)?;
    let reference = Reference::parse(&options.reference, &registry.url)?;
    let pushed = async {
        let wasm = tokio::fs::read(file).await;
        let wasm = wasm.map_err(|error| Failure::of_system(&format!("{} cannot be read", file.display()), &error))?;
        if !is_wasm(&wasm) {
            let message = format!("{} is not a WebAssembly binary", file.display());
            let hint = "push the output of the compiler, not an archive or source".to_owned();
            return Err(Failure::Other(exit::FAILURE, message, Some(hint)));
        }
        let artifact = tokio::task::block_in_place(|| Artifact::pack_for(&reference.repository, wasm, *shape));
        let pushed = Puller::new(&registry, &store)?.push(&reference, &artifact).await?;
        Ok((pushed, artifact.layer.descriptor()))
    };
    let (Descriptor { digest, media_type, size }, layer) = unless_stopped(&stop, pushed).await?;
    verbosity.print_message(&format!("pushed {} to {reference} as {shape}", file.display()));
    output::print_line(&match format {
        Format::Text => digest.to_string(),
        Format::Json => output::json(&json!({
            "reference": reference.to_string(),
            "digest": digest,
            "media_type": media_type,
            "size": size,
            "shape": shape.name(),
            "layer": { "digest": layer.digest, "media_type": layer.media_type, "size": layer.size },
        })),
    })?;
    Ok(exit::SUCCESS)
}
