//! `lab`: the suite's lab, for people; it stays up until it is taken down.

use anyhow::Result;

use crate::{build, setup, shell};

/// What to do with the lab.
#[derive(clap::Subcommand)]
pub(crate) enum Arguments {
    /// Make the namespaces, start the app hosts' servers and the agent
    Up,
    /// Remove everything that `up` made
    Down,
    /// Open a shell in one of its namespaces
    Shell {
        /// client, node, app1 or app2
        #[arg(default_value = "node")]
        host: String,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments {
        Arguments::Up => program(&["up"]),
        Arguments::Down => program(&["down"]),
        Arguments::Shell { host } => program(&["shell", host]),
    }
}

/// Builds, and runs the lab's program as root.
pub(crate) fn program(arguments: &[&str]) -> Result<()> {
    setup::run(setup::Wish::Everything)?;
    let programs = build::programs()?;
    let ctl = build::find(&programs, "harbor-ctl")?;
    let lab = build::find(&programs, "harbor-lab")?;
    let variables = [("HARBOR_CTL", ctl.as_os_str())];
    shell::foreground(shell::privileged(lab, &variables).args(arguments))
}
