//! `propeller-proxy demo`: the main job with nothing to install.
//!
//! One process runs an embedded broker and registry on free loopback ports, the real proxy between them, and a proplet
//! that requests modules and assembles them as devices do.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use propeller_proxy::config::{self, Sources};
use propeller_proxy::device::Proplet;
use propeller_proxy::embedded::broker::{Access, Broker};
use propeller_proxy::embedded::layout::Layout;
use propeller_proxy::embedded::registry::Registry;
use propeller_proxy::embedded::sample;
use propeller_proxy::mqtt::request::TASK_TIMEOUT;
use propeller_proxy::mqtt::topic;
use propeller_proxy::oci::artifact::Shape;
use propeller_proxy::oci::digest::Digest;
use propeller_proxy::oci::wasm::is_wasm;
use propeller_proxy::service::Service;
use propeller_proxy::service::ServiceOptions;
use serde_json::{Value, json};

use crate::output::{self, Format};
use crate::verbosity::Verbosity;
use crate::{exit, logging, progress, shutdown};

/// The size of the larger built-in module, bytes.
const LARGE_MODULE: usize = 5_000_000;
const DOMAIN: &str = "demo";
const CHANNEL: &str = "demo";

const EXAMPLES: &[&str] =
    &["propeller-proxy demo", "propeller-proxy demo --wasm target/app.wasm", "propeller-proxy demo --keep"];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::ALWAYS))]
pub(crate) struct Options {
    /// Deliver this WebAssembly file as well
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Leave everything running afterwards, and print commands to try
    #[arg(long)]
    keep: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// A module to be delivered.
struct Module {
    repository: String,
    bytes: Vec<u8>,
}

/// One row of the table.
struct Delivery {
    app_name: String,
    size: usize,
    total_chunks: u64,
    duration: Duration,
    verified: bool,
}

pub(crate) async fn run(options: Options) -> u8 {
    let modules = match modules(options.wasm.as_deref()) {
        Ok(modules) => modules,
        Err(message) => return exit::fail(exit::FAILURE, &message, None),
    };
    options.verbosity.start_log();
    match demonstrate(modules, &options).await {
        Ok(true) => exit::SUCCESS,
        Ok(false) => exit::fail(exit::FAILURE, "not every module arrived, or not as it was pushed", None),
        Err(error) => exit::fail(exit::FAILURE, &error.to_string(), None),
    }
}

/// Runs the whole demo; returns whether every module arrived and was verified.
async fn demonstrate(modules: Vec<Module>, options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let Options { keep, format, verbosity, .. } = *options;
    let stop = shutdown::on_signal()?;
    let folder = tempfile::tempdir()?;
    let layout = Layout::create(folder.path())?;
    let broker = Broker::start(Access::Anonymous).await?;
    let registry = Registry::start(folder.path()).await?;
    verbosity.print_message(&format!(
        "MQTT broker at {}, OCI registry at http://{}",
        broker.address(),
        registry.host()
    ));

    let config = config::load::<ServiceOptions>(&Sources::of_variables(|name| {
        let value = match name {
            "PROXY_MQTT_ADDRESS" => broker.address(),
            "PROXY_REGISTRY_URL" => registry.host(),
            "PROXY_DOMAIN_ID" => DOMAIN.into(),
            "PROXY_CHANNEL_ID" => CHANNEL.into(),
            "PROXY_CACHE_DIR" => return Some(folder.path().join("store").into()),
            "PROXY_STATE_DIR" => return Some(folder.path().join("state").into()),
            _ => return None,
        };
        Some(OsString::from(value))
    }))?;
    let mqtt = config.mqtt.clone();
    let channel = topic::Channel { domain: DOMAIN.into(), id: CHANNEL.into() };
    let (service, task) = Service::open(config).await?;
    let mut ready = service.ready();
    let stop_service = stop.child_token();
    let mut running = tokio::spawn(task.run(stop_service.clone()));
    tokio::select! {
        ended = &mut running => return ended?.map(|()| false).map_err(Into::into),
        ready = ready.wait_for(|ready| *ready) => drop(ready?),
    }
    let proplet = Proplet::connect(&mqtt, &channel, topic::Layout::Plain).await?;

    let mut deliveries = Vec::new();
    for Module { repository, bytes } in &modules {
        let pushed = layout.push(repository, "1.0", bytes, Shape::WasmToOci)?;
        let app_name = format!("{}/{repository}:1.0", registry.host());
        tokio::select! {
            () = stop.cancelled() => break,
            delivery = deliver(&proplet, app_name, pushed.layer.digest, verbosity) => deliveries.push(delivery),
        }
    }
    print(&match format {
        Format::Text => table(&deliveries).to_string(),
        Format::Json => output::json(&deliveries.iter().map(row).collect::<Vec<_>>()),
    });
    let verified = deliveries.len() == modules.len() && deliveries.iter().all(|delivery| delivery.verified);

    if keep && !stop.is_cancelled() {
        let commands = commands(&broker, &registry, &deliveries);
        match format {
            Format::Text => print(&commands),
            Format::Json => logging::print(&commands),
        }
        stop.cancelled().await;
    }
    proplet.close().await;
    stop_service.cancel();
    running.await??;
    registry.stop().await;
    broker.stop().await;
    Ok(verified)
}

/// Requests one module as a device does, shows its progress, and checks what arrived.
async fn deliver(proplet: &Proplet, app_name: String, digest: Digest, verbosity: Verbosity) -> Delivery {
    let bar = progress::of_chunks(&progress::bars(verbosity), &app_name);
    if bar.is_hidden() {
        verbosity.print_message(&format!("requesting {app_name}"));
    }
    let begin = Instant::now();
    let module = proplet
        .request_with(&app_name, |chunks, total_chunks| {
            progress::note(&bar, chunks, total_chunks);
        })
        .await;
    let duration = begin.elapsed();
    bar.finish_and_clear();
    match &module {
        Some(bytes) => verbosity.print_message(&format!("assembled {app_name} ({} bytes)", bytes.len())),
        None => verbosity.print_message(&format!("{app_name} did not arrive within {} s", TASK_TIMEOUT.as_secs())),
    }
    let verified = module.as_ref().is_some_and(|bytes| Digest::of(bytes) == digest);
    Delivery {
        app_name,
        size: module.map_or(0, |bytes| bytes.len()),
        total_chunks: bar.length().unwrap_or(0),
        duration,
        verified,
    }
}

fn modules(file: Option<&Path>) -> Result<Vec<Module>, String> {
    let mut modules = vec![
        Module { repository: "add".into(), bytes: sample::ADD.to_vec() },
        Module { repository: "five-megabytes".into(), bytes: sample::noise(LARGE_MODULE, 1) },
    ];
    if let Some(file) = file {
        let bytes = fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        if !is_wasm(&bytes) {
            return Err(format!("{} is not a WebAssembly binary", file.display()));
        }
        modules.push(Module { repository: format!("your/{}", repository_name(file)), bytes });
    }
    Ok(modules)
}

/// A file's name as a repository may be called: lower-case letters and digits with single hyphens between.
fn repository_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let words: Vec<_> = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "module".into() } else { words.join("-") }
}

fn row(Delivery { app_name, size, total_chunks, duration, verified }: &Delivery) -> Value {
    let seconds = duration.as_secs_f64();
    json!({ "app_name": app_name, "size": size, "chunks": total_chunks, "seconds": seconds, "verified": verified })
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn table(deliveries: &[Delivery]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["module", "size", "chunks", "seconds", "MB/s", "digest"]);
    for Delivery { app_name, size, total_chunks, duration, verified } in deliveries {
        let seconds = duration.as_secs_f64();
        table.add_row([
            app_name.clone(),
            size.to_string(),
            total_chunks.to_string(),
            format!("{seconds:.3}"),
            format!("{:.1}", *size as f64 / 1e6 / seconds),
            if *verified { "verified" } else { "WRONG" }.into(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Prints a line; a closed standard output does not end the demo.
fn print(text: &str) {
    let _ = output::print_line(text);
}

fn commands(broker: &Broker, registry: &Registry, deliveries: &[Delivery]) -> String {
    let (port, host) = (broker.port(), registry.host());
    let app_name = deliveries.first().map_or("add", |delivery| &delivery.app_name);
    format!(
        "
Everything keeps running; press Ctrl-C to stop. Things to try in another terminal:

  mosquitto_sub -p {port} -v -t 'm/{DOMAIN}/c/{CHANNEL}/registry/server'
  mosquitto_pub -p {port} -q 2 -t 'm/{DOMAIN}/c/{CHANNEL}/registry/proplet' -m '{{\"app_name\": \"{app_name}\"}}'
  curl http://{host}/v2/_catalog"
    )
}
