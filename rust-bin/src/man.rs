//! `propeller-proxy man`: manual pages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::Failure;
use crate::{exit, output};

const EXAMPLES: &[&str] = &["propeller-proxy man | man -l -", "propeller-proxy man --dir ~/.local/share/man/man1"];

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::ALWAYS))]
pub(crate) struct Options {
    /// Write a page for each command into this folder, instead of one to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, command: Command) -> Result<u8, Failure> {
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::of_system("the page cannot be made", &error))?;
        output::print(&page)?;
        return Ok(exit::SUCCESS);
    };
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|error| Failure::of_system(&format!("{} cannot be written", dir.display()), &error))?;
    Ok(exit::SUCCESS)
}
