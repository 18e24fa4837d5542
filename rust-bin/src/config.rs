//! `propeller-proxy config`: what is in force, and where each value comes from.

use clap::Args;
use propeller_proxy::config::{self, Effective, Origin};
use serde_json::json;

use crate::exit;
use crate::failure::Failure;
use crate::logging;
use crate::output::{self, Format};
use crate::settings::{self, All, Flags};
use crate::terminal::printable;

/// Where origins begin, columns, unless a value is longer.
const WIDTH: usize = 60;

const EXAMPLES: &[&str] = &[
    "propeller-proxy config",
    "propeller-proxy config --format json | jq -r '.[] | select(.origin == \"file\") | .name'",
    "PROXY_MQTT_QOS=1 propeller-proxy config --chunk-size 64KiB",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_CONFIGURATION))]
pub(crate) struct Options {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    settings: Flags<All>,
}

pub(crate) fn run(options: &Options) -> Result<u8, Failure> {
    let sources = options.settings.sources();
    let settings = sources.explain();
    match options.format {
        Format::Text => output::print(text(&settings).as_bytes())?,
        Format::Json => output::print_line(&output::json(&json(&settings)))?,
    }
    for warning in settings::unknown_variables(&sources) {
        logging::print(&format!("warning: {warning}"));
    }
    let _: All = config::load(&sources)?;
    Ok(exit::SUCCESS)
}

/// Lines as in the environment; those that hold a default, or nothing, are comments.
fn text(settings: &[Effective]) -> String {
    let width = settings.iter().map(|setting| assignment(setting).len().min(WIDTH)).max().unwrap_or_default();
    let line = |setting: &Effective| {
        let origin = match (&setting.origin, &setting.value) {
            (Origin::Default, None) => "not set".into(),
            (origin, _) => origin.to_string(),
        };
        format!("{:width$}  # {}\n", assignment(setting), printable(&origin))
    };
    let of_part = |part: &[Effective]| {
        let lines: String = part.iter().map(line).collect();
        format!("# {}\n{lines}", part[0].setting.part.title())
    };
    settings.chunk_by(|one, other| one.setting.part == other.setting.part).map(of_part).collect::<Vec<_>>().join("\n")
}

fn assignment(Effective { setting, value, origin }: &Effective) -> String {
    let comment = if *origin == Origin::Default { "# " } else { "" };
    format!("{comment}{}={}", setting.name, value.as_deref().unwrap_or_default().escape_debug())
}

fn json(settings: &[Effective]) -> serde_json::Value {
    let row = |Effective { setting, value, origin }: &Effective| {
        let (kind, name) = match origin {
            Origin::Flag(flag) => ("flag", Some(format!("--{flag}"))),
            Origin::Variable(name) => ("environment", Some(name.clone())),
            Origin::File { path, key } => ("file", Some(format!("{key} in {}", path.display()))),
            Origin::Default => (if value.is_some() { "default" } else { "not set" }, None),
        };
        json!({ "name": setting.name, "value": value, "origin": kind, "given_by": name })
    };
    settings.iter().map(row).collect()
}
