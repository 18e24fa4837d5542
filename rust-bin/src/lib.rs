//! The daemon and its command line; one file a subcommand.
//!
//! It is a library so that the binary and the console command of the Python wheel are the same program.

mod channel;
mod check;
mod completions;
mod config;
mod deliver;
#[cfg(feature = "embedded")]
mod demo;
mod exit;
mod failure;
mod files;
mod healthcheck;
mod http;
mod inspect;
mod logging;
mod man;
mod metrics;
mod notify;
mod operation;
mod output;
mod progress;
mod push;
#[cfg(feature = "embedded")]
mod request;
mod run;
mod settings;
mod shutdown;
mod terminal;
mod traces;
mod verbosity;
mod watch;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

pub use self::exit::{BROKER_REFUSED, CONFIGURATION, FAILURE, INTERRUPTED, SUCCESS, TERMINATED, USAGE};
pub use self::settings::settings;
use self::shutdown::interruptible;

const NAME: &str = "propeller-proxy";
const ABOUT: &str = "Deliver WebAssembly modules from OCI registries to edge devices over MQTT";
const LONG_ABOUT: &str = "\
Deliver WebAssembly modules from OCI registries to edge devices over MQTT.

Without a command it runs the service. Settings are flags, environment variables (PROXY_REGISTRY_URL, PROXY_DOMAIN_ID,
PROXY_CHANNEL_ID, PROXY_MQTT_ADDRESS and others), or keys of the section [proxy] of config.toml; the first of these wins.";

const EXAMPLES: &[&str] = &[
    "propeller-proxy demo",
    "propeller-proxy check",
    "propeller-proxy --config-file /etc/propeller-proxy/config.toml",
    "propeller-proxy help deliver",
];

#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = NAME, version)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = exit::help(EXAMPLES, exit::OF_BROKER))]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Those of `run`, the default.
    #[command(flatten)]
    run: run::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT (the default)
    Run(run::Options),
    /// Find out whether the service would work: configuration, broker, registry, folders
    Check(check::Options),
    /// Print the settings that are in force, and where each comes from
    Config(config::Options),
    /// Send modules now, without a request of a device
    ///
    /// If a proxy is online on the channel, the command publishes requests as a device does, and follows the status topic:
    /// its credentials must permit both. If none is, the command runs the service itself until the modules are delivered,
    /// with the store and the state of the daemon; devices that request modules meanwhile are served.
    Deliver(deliver::Options),
    #[cfg(feature = "embedded")]
    /// Act as a proplet: request a module, assemble it, verify it
    ///
    /// If neither a status message nor --digest names the digest, the module is written all the same, with a warning that
    /// --quiet does not silence.
    Request(request::Options),
    /// Look at what a reference leads to, and at what would be sent
    Inspect(inspect::Options),
    /// Pack a module and push it to a registry; prints the digest of its manifest
    Push(push::Options),
    /// Watch transfers as proxies tell of them, until Ctrl-C
    Watch(watch::Options),
    #[cfg(feature = "embedded")]
    /// Deliver modules between parts inside this process; nothing has to be installed
    Demo(demo::Options),
    /// Print what a shell needs to complete command lines
    Completions(completions::Options),
    /// Print the manual page
    Man(man::Options),
    /// Ask the service on this machine whether it is alive
    #[command(hide = true)]
    Healthcheck(healthcheck::Options),
}

/// The command line, for documentation and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
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
            Command::Check(options) => interruptible(|stop| check::run(options, stop)).await,
            Command::Config(options) => exit::of(config::run(&options)),
            Command::Deliver(options) => interruptible(|stop| deliver::run(options, stop)).await,
            #[cfg(feature = "embedded")]
            Command::Request(options) => interruptible(|stop| request::run(options, stop)).await,
            Command::Inspect(options) => interruptible(|stop| inspect::run(options, stop)).await,
            Command::Push(options) => interruptible(|stop| push::run(options, stop)).await,
            Command::Watch(options) => watch::run(options).await,
            #[cfg(feature = "embedded")]
            Command::Demo(options) => demo::run(options).await,
            Command::Completions(options) => exit::of(completions::run(&options, command())),
            Command::Man(options) => exit::of(man::run(&options, command())),
            Command::Healthcheck(options) => interruptible(|stop| healthcheck::run(options, stop)).await,
        }
    });
    let status = runtime.block_on(task).unwrap_or(FAILURE);
    // What still blocks (a read from a stuck disk) must not keep the process alive.
    runtime.shutdown_background();
    logging::flush();
    status
}
