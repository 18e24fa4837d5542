//! Help texts, errors of the command line, completions, manual pages, and what they do in pipes and terminals.

use std::fs;
use std::process::Stdio;

use insta::assert_snapshot;
use tokio::process::Command;

use crate::support::clients::cli::Shell;
use crate::support::clients::daemon::BINARY;
use crate::support::{generated, pages, path};

/// The commands in the order of the help text. Another one is for containers, and not shown.
const COMMANDS: [&str; 11] =
    ["run", "check", "config", "deliver", "request", "inspect", "push", "watch", "demo", "completions", "man"];

#[tokio::test]
async fn every_command_has_a_short_help_with_examples() {
    let shell = Shell::new();
    for command in COMMANDS {
        let ran = shell.run(&[command, "-h"]).await.ended(0);
        assert!(ran.text().contains(&format!("Examples:\n  propeller-proxy {command}")), "{}", ran.text());
        assert_snapshot!(format!("help_{command}"), ran.text());
    }
    let ran = shell.run(&["-h"]).await.ended(0);
    let listed: Vec<_> = propeller_proxy_daemon::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    for command in COMMANDS {
        assert!(listed.iter().any(|name| name == command), "{command}");
    }
    assert!(ran.text().contains("\nExit status:\n  0   ") && !ran.text().contains("healthcheck"), "{}", ran.text());
}

#[tokio::test]
async fn settings_are_in_the_long_help_only() {
    let shell = Shell::new();
    for (command, has, has_not) in [
        ("run", "--http-port", "--offline"),
        ("check", "--registry-url", "--channel "),
        ("watch", "--mqtt-qos", "--registry-url"),
        ("request", "--mqtt-tls-ca-cert", "--registry-url"),
        ("inspect", "--chunk-size", "--mqtt-address"),
        ("push", "--registry-password-file", "--chunk-size"),
        ("deliver", "--state-dir", "--instance-id"),
        ("request", "--channel-id", "--share-group"),
    ] {
        let (short, long) = (shell.run(&[command, "-h"]).await, shell.run(&[command, "--help"]).await);
        assert!(!short.text().contains(has) && long.text().contains(has), "{command}: {}", long.text());
        assert!(!long.text().contains(has_not), "{command}: {}", long.text());
    }
}

#[test]
fn the_cli_page_is_what_the_code_says() {
    generated("docs/cli.md", &pages::cli::page());
}

#[tokio::test]
async fn mistyped_words_get_suggestions() {
    let shell = Shell::new();
    let mut shown = Vec::new();
    for arguments in [
        &["delivr"][..],
        &["deliver"],
        &["check", "--ofline"],
        &["run", "--mqtt-adress", "localhost"],
        &["inspect", "add", "--format", "yaml"],
        &["push", "add.wasm", "add", "--shape", "square"],
        &["request", "add", "--timeout", "60"],
        &["request", "add", "--digest", "sha256:4d5e"],
        &["completions", "tcsh"],
    ] {
        let ran = shell.run(arguments).await.ended(2);
        shown.push(format!("$ propeller-proxy {}\n{}", arguments.join(" "), ran.shown(&[])));
    }
    assert_snapshot!("mistyped", shown.join("\n\n"));
}

#[tokio::test]
async fn completions_are_for_the_usual_shells() {
    let shell = Shell::new();
    for (name, start) in [("bash", "_propeller"), ("zsh", "#compdef propeller-proxy"), ("fish", "# Print")] {
        let ran = shell.run(&["completions", name]).await.ended(0);
        assert!(ran.text().starts_with(start), "{name}: {:.200}", ran.text());
        for word in ["deliver", "offline", "mqtt-address"] {
            assert!(ran.text().contains(word), "{name} has no {word}");
        }
    }
    let script = shell.path("completion.bash");
    fs::write(&script, shell.run(&["completions", "bash"]).await.stdout).expect("write the script");
    let check = format!("source {} && complete -p propeller-proxy", path(&script));
    let output = Command::new("bash").args(["-c", &check]).output().await.expect("run bash");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn manual_pages_are_for_every_command() {
    let shell = Shell::new();
    let page = shell.run(&["man"]).await.ended(0);
    assert!(page.text().contains(".TH propeller-proxy 1") && page.text().contains(".SH OPTIONS"), "{}", page.text());
    let folder = shell.path("man/man1");
    assert!(shell.run(&["man", "--dir", path(&folder)]).await.ended(0).stdout.is_empty());
    for command in COMMANDS {
        let page = folder.join(format!("propeller-proxy-{command}.1"));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(page.contains("Examples:"), "{command}");
        let has_settings = !["demo", "completions", "man"].contains(&command);
        assert_eq!(page.contains("PROXY_CONFIG_FILE"), has_settings, "{command}");
    }
    assert!(folder.join("propeller-proxy.1").exists() && !folder.join("propeller-proxy-healthcheck.1").exists());
    shell.run(&["man", "--dir", "/dev/null/man"]).await.ended(1);
}

/// As `| head` does: the reader leaves before anything is written.
#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let shell = Shell::new();
    for arguments in [&["man"][..], &["completions", "zsh"], &["--help"], &["check", "--offline", "--help"]] {
        let mut command = shell.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the command");
        drop(child.stdout.take());
        let output = child.wait_with_output().await.expect("its end");
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

/// On a terminal, which `script` pretends to be.
#[tokio::test]
async fn only_terminals_that_permit_it_get_colours() {
    const ESCAPE: u8 = 0x1b;
    let line = format!("{BINARY} check --offline; {BINARY} inspect nowhere");
    for (no_color, coloured) in [("", true), ("1", false)] {
        let shell = Shell::between("tcp://127.0.0.1:1", "127.0.0.1:1").with("NO_COLOR", no_color);
        let output = shell.program("script", &["-qec", &line, "/dev/null"]).output().await.expect("run script");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("ok") && text.contains("error:"), "{text}");
        assert_eq!(output.stdout.contains(&ESCAPE), coloured, "NO_COLOR={no_color}: {text}");
    }
}
