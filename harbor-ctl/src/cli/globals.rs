//! What every verb takes: where the agent is, and how data is written.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::model::parse_period;

/// Flags taken before and after the noun.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The agent's control socket [default: harbor.sock under the configuration's paths.run]
    #[arg(long, global = true, value_name = "PATH", env = "HARBOR_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// The configuration file [default: /etc/harbor/harbor.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How data is written to stdout
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub(crate) output: Format,
    /// Colour in tables; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Leave out the headings of tables
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// How long to wait for an answer, for example 500ms, 10s or 2m
    #[arg(long, global = true, value_name = "PERIOD", default_value = "30s", value_parser = period)]
    pub(crate) timeout: Duration,
    /// Say more: what is asked of whom
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

fn period(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => parse_period(text),
    }
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// JSON, a contract with scripts
    Json,
    /// The same as YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    Always,
    Never,
}
