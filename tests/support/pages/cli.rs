//! `docs/cli.md`, written from the definitions of the command line.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// What the headings of settings end in.
const SETTINGS: &str = " settings";

const INTRODUCTION: &str = "\
# Command line

<!-- Written by `UPDATE_DOCS=1 cargo test -p propeller-proxy-daemon cli_page`; a test compares. -->

Data goes to standard output, everything else to standard error. With `--format json`, data is JSON for programs. An
error is one line, `error: …`, mostly with a `hint: …` of what to do. Progress is shown on a terminal only; colours too, and
not where `NO_COLOR` is set. Ctrl-C ends every command within a second and leaves no half-written file.

Every [setting](configuration.md) that a command needs is also a flag of it: `PROXY_MQTT_ADDRESS` is `--mqtt-address`.
`--help` lists them, `-h` does not.
";

/// Returns the page.
pub fn page() -> String {
    let mut command = propeller_proxy_daemon::command();
    command.build();
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, &command);
    for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        section(&mut page, command);
    }
    page
}

fn section(page: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<_> = about.split("\n\n").map(|text| format!("{}.", text.trim_end_matches('.'))).collect();
    let about = paragraphs.join("\n\n");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let _ = write!(page, "\n## `{name}`\n\n{about}\n\n```text\n{usage}\n```\n");

    let is_setting = |arg: &&Arg| arg.get_help_heading().is_some_and(|heading| heading.ends_with(SETTINGS));
    let shown = |arg: &&Arg| !is_setting(arg) && !["help", "version"].contains(&arg.get_id().as_str());
    let mut rows = command.get_arguments().filter(shown).peekable();
    if rows.peek().is_some() {
        page.push_str("\n| Argument | Meaning | Default |\n|---|---|---|\n");
    }
    for arg in rows {
        let default: Vec<_> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
        let takes_value = arg.get_action().takes_values();
        let default = if takes_value { default.join(", ") } else { String::new() };
        let _ = writeln!(page, "| {} | {} | {default} |", spelled(arg), meaning(arg));
    }
    let mut parts: Vec<_> = command.get_arguments().filter(is_setting).filter_map(Arg::get_help_heading).collect();
    parts.dedup();
    let parts: Vec<_> = parts.iter().filter_map(|heading| heading.strip_suffix(SETTINGS)).collect();
    if !parts.is_empty() {
        let _ = writeln!(page, "\n[Settings](configuration.md): {}.", parts.join(", "));
    }

    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for block in help.split("\n\n") {
        let Some((title, lines)) = block.split_once(":\n") else { continue };
        let lines = lines.lines().map(str::trim);
        if title == "Examples" {
            let _ = write!(page, "\n```sh\n{}\n```\n", lines.collect::<Vec<_>>().join("\n"));
        } else {
            let _ = write!(page, "\n| {title} | Meaning |\n|---|---|\n");
            for (status, meaning) in lines.filter_map(|line| line.split_once(' ')) {
                let _ = writeln!(page, "| {status} | {} |", meaning.trim());
            }
        }
    }
}

/// The flag or place of an argument.
fn spelled(arg: &Arg) -> String {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let value = value.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let Some(long) = arg.get_long() else { return format!("`{}`", value.unwrap_or_default()) };
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    format!("{short}`--{long}{}`", value.map(|value| format!(" {value}")).unwrap_or_default())
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let values: Vec<_> = arg.get_possible_values();
    let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    if values.is_empty() || !arg.get_action().takes_values() { help } else { format!("{help}: {}", values.join(", ")) }
}
