//! `bench`: what a packet costs, beside plain routing and nftables, built as it is shipped.

use anyhow::Result;

use crate::{build, setup, shell};

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for the measuring program, for example --rounds 15
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(setup::Wish::Everything)?;
    let programs = build::release()?;
    let ctl = build::find(&programs, "harbor-ctl")?;
    let bench = build::find(&programs, "harbor-bench")?;
    let variables = [("HARBOR_CTL", ctl.as_os_str())];
    shell::foreground(shell::privileged(bench, &variables).args(&arguments.rest))
}
