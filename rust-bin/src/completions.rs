//! `propeller-proxy completions`: what a shell needs to complete command lines.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::{exit, output};

const EXAMPLES: &[&str] = &[
    "propeller-proxy completions bash > /etc/bash_completion.d/propeller-proxy",
    "propeller-proxy completions zsh > ~/.zfunc/_propeller-proxy",
    "propeller-proxy completions fish > ~/.config/fish/completions/propeller-proxy.fish",
];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::ALWAYS))]
pub(crate) struct Options {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(options: &Options, mut command: Command) -> Result<u8, Failure> {
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    output::print(&script)?;
    Ok(exit::SUCCESS)
}
