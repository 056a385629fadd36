//! The hidden verb `manual`: the pages for man(1), from the same source as `--help`. The package is made with it.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};

use super::{
    arguments::Arguments,
    failure::{Exit, Failure},
};

#[derive(Debug, Args)]
pub(crate) struct ManualNoun {
    /// The folder that the pages are written to, one a verb
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

pub(super) fn run(noun: &ManualNoun) -> Result<Exit, Failure> {
    let to = &noun.to;
    let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", to.display()));
    fs::create_dir_all(to).map_err(wrong)?;
    let command = Arguments::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, to).map_err(wrong)?;
    Ok(Exit::Ok)
}
