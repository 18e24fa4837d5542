//! `propeller-proxy check`: whether the service would work with this configuration.

use std::io;
use std::path::Path;

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use propeller_proxy::config::{self, Sources};
use propeller_proxy::error::Error;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::registry::Registry;
use propeller_proxy::oci::store::{self, StoreOptions};
use propeller_proxy::service::ServiceOptions;
use propeller_proxy::state::StateOptions;
use propeller_proxy::{mqtt, state};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::{self, All, Flags};
use crate::shutdown::unless_stopped;
use crate::terminal::{is_coloured, printable};
use crate::verbosity::Verbosity;

const EXAMPLES: &[&str] = &[
    "propeller-proxy check",
    "propeller-proxy check --offline --config-file /etc/propeller-proxy/config.toml",
    "propeller-proxy check --format json | jq -r '.checks[] | select(.ok | not) | .hint'",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_BROKER))]
pub(crate) struct Options {
    /// Connect to nothing: check the configuration and the folders only
    #[arg(long)]
    offline: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<All>,
}

/// The result for one part.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What works, or what does not.
    detail: String,
    /// The code of the error, if it has one.
    code: Option<&'static str>,
    hint: Option<&'static str>,
    /// What the command ends with for it.
    #[serde(skip)]
    status: u8,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

impl Check {
    fn passed(name: &'static str, detail: String) -> Self {
        Self { name, ok: true, detail, code: None, hint: None, status: exit::SUCCESS }
    }

    fn of(name: &'static str, outcome: Result<String, Error>) -> Self {
        match outcome {
            Ok(detail) => Self::passed(name, detail),
            Err(error) => Self {
                ok: false,
                code: Some(error.code()),
                hint: error.hint(),
                status: exit::status_of(&error),
                ..Self::passed(name, error.to_string())
            },
        }
    }
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    options.verbosity.start_log();
    let sources = options.settings.sources();
    for warning in settings::unknown_variables(&sources) {
        options.verbosity.print_message(&format!("warning: {warning}"));
    }
    let checks = match config::load::<All>(&sources) {
        Ok((config, ..)) => {
            let checks = async { Ok(all(&sources, config, options.offline).await) };
            unless_stopped(&stop, checks).await?
        }
        Err(error) => {
            let failed = Check::passed("configuration", error.to_string());
            vec![Check { ok: false, status: exit::CONFIGURATION, ..failed }]
        }
    };
    let status = checks.iter().map(|check| check.status).max().unwrap_or_default();
    let printed = match options.format {
        Format::Text => output::print(text(&checks).as_bytes()),
        Format::Json => {
            let ok = checks.iter().all(|check| check.ok);
            output::print_line(&output::json(&Report { ok, checks: &checks }))
        }
    };
    exit::after(printed, status)
}

async fn all(sources: &Sources<'_>, config: ServiceOptions, offline: bool) -> Vec<Check> {
    let file = sources.file().map_or_else(String::new, |file| format!(" and {}", file.display()));
    let mut checks = vec![Check::passed("configuration", format!("flags, environment{file}: nothing is wrong"))];
    if !offline {
        let broker = async {
            let (instance, is_exact) = (config.instance_id.as_deref(), config.has_exact_client_id);
            mqtt::check(&config.mqtt, &config.channels, instance, is_exact, config.share_group.is_some()).await?;
            Ok(format!("{} lets us connect and subscribe", config.mqtt.address))
        };
        let (broker, registry) = tokio::join!(broker, registry(&config.registry));
        checks.extend([Check::of("broker", broker), Check::of("registry", registry)]);
    }
    let (store, state) = (config.store, config.state);
    let folders = tokio::task::spawn_blocking(move || [of_store(&store), of_state(&state)]);
    // Fails if that panics, which is said then.
    checks.extend(folders.await.into_iter().flatten());
    checks
}

async fn registry(config: &RegistryOptions) -> Result<String, Error> {
    Registry::new(config)?.check(&config.url).await
}

/// Whether the store can be used; a temporary one does as well where no folder is configured.
fn of_store(StoreOptions { folder, is_named, .. }: &StoreOptions) -> Check {
    match store::check(folder) {
        Err(error) if !is_named => {
            let hint = error.hint();
            Check { hint, ..Check::passed("store", format!("a temporary folder will be used: {error}")) }
        }
        checked => Check::of("store", checked.map(|()| can_be_written(folder))),
    }
}

/// Whether the state can be used. A temporary one, which the service would make do with, loses what must survive.
fn of_state(StateOptions { folder, is_named }: &StateOptions) -> Check {
    let check = Check::of("state", state::check(folder).map(|()| can_be_written(folder)));
    if check.ok || *is_named {
        return check;
    }
    Check { detail: format!("what must survive a restart would not, in a temporary folder: {}", check.detail), ..check }
}

fn can_be_written(folder: &Path) -> String {
    format!("{} can be written", folder.display())
}

/// A line each, and one for what to do about it.
fn text(checks: &[Check]) -> String {
    let coloured = is_coloured(&io::stdout());
    let line = |Check { name, ok, detail, code, hint, .. }: &Check| {
        let (word, colour) = if *ok { ("ok", AnsiColor::Green) } else { ("failed", AnsiColor::Red) };
        let style = if coloured { colour.on_default() } else { Style::new() };
        // The problems of a configuration are a line each.
        let detail: Vec<_> = detail.lines().map(printable).collect();
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let hint = hint.map(|hint| format!("\n        hint: {hint}")).unwrap_or_default();
        format!("{style}{word:<8}{style:#}{name}{code}: {}{hint}\n", detail.join("\n        "))
    };
    checks.iter().map(line).collect()
}
