//! `harbor-ctl agent`: runs the agent in this process.

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::{Exit, Failure},
    globals::Globals,
};
use crate::model::Refusal;

/// Runs the agent with a configuration file and `--set` flags. Handed in by `main`: nobody but it
/// knows the agent.
pub(crate) type StartAgent = fn(Option<PathBuf>, Vec<String>) -> Result<(), Refusal>;

const EXAMPLES: &str = "\
The configuration is /etc/harbor/harbor.toml, then conf.d/*.toml beside it, then environment \
variables HARBOR_SECTION__KEY, then --set. Stopping the agent leaves the datapath running; \
`harbor-ctl datapath detach` removes it.

Signals: TERM and INT stop it, HUP reads the configuration again.

Examples:
  harbor-ctl agent --config ./harbor.toml
  HARBOR_LOG__LEVEL=debug harbor-ctl agent
  harbor-ctl agent --set ports.range=36000-36999";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgentNoun {
    /// Overrule one configuration value; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(start: StartAgent, globals: &Globals, noun: AgentNoun) -> Result<Exit, Failure> {
    start(globals.config.clone(), noun.set)?;
    Ok(Exit::Ok)
}
