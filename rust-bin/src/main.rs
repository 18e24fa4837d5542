//! The `propeller-proxy` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    propeller_proxy_daemon::main(std::env::args_os()).into()
}
