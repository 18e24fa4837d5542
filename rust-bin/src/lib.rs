//! The daemon and its command line; one file a subcommand.
//!
//! It is a library so that the binary and the console command of the Python wheel are the same program.

#[cfg(feature = "embedded")]
mod demo;
mod exit;
mod http;
mod logging;
mod metrics;
mod notify;
mod run;
mod settings;
mod shutdown;
mod traces;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub use self::exit::{BROKER_REFUSED, CONFIGURATION, FAILURE, SUCCESS};

const ABOUT: &str = "Deliver WebAssembly modules from OCI registries to edge devices over MQTT";
const LONG_ABOUT: &str = "\
Deliver WebAssembly modules from OCI registries to edge devices over MQTT.

Without a command it runs the service. Settings are flags, environment variables (PROXY_REGISTRY_URL, PROXY_DOMAIN_ID,
PROXY_CHANNEL_ID, PROXY_MQTT_ADDRESS and others), or keys of the section [proxy] of config.toml; the first of these wins.";

#[derive(Debug, Parser)]
#[command(name = "propeller-proxy", bin_name = "propeller-proxy", version)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = exit::HELP)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Those of `run`, which goes without saying.
    #[command(flatten)]
    run: run::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT (the default).
    Run(run::Options),
    #[cfg(feature = "embedded")]
    /// Deliver modules between parts inside this process; nothing has to be installed.
    Demo(demo::Options),
}

/// Runs the command line `args`, the first of which is the program's name; returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no reason to fail.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(FAILURE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(FAILURE, &format!("the async runtime cannot start: {error}"), None),
    };
    // A task of the runtime's own is woken by other tasks for less than the thread that waits here.
    let task = runtime.spawn(async {
        match cli.command.unwrap_or(Command::Run(cli.run)) {
            Command::Run(options) => run::run(options).await,
            #[cfg(feature = "embedded")]
            Command::Demo(options) => demo::run(options).await,
        }
    });
    let status = runtime.block_on(task).unwrap_or(FAILURE);
    // What still blocks (a read from a stuck disk) must not keep the process alive.
    runtime.shutdown_background();
    status
}
