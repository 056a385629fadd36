//! `bench`: what Harbor costs compared with others, in the build that is shipped.

use anyhow::Result;

use crate::{build, setup, shell};

/// What to measure, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is measured
    #[arg(value_enum, default_value = "packet")]
    what: What,
    /// Arguments for the measuring program, for example --rounds 15
    #[arg(last = true)]
    rest: Vec<String>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// A packet in the kernel, beside plain routing and nftables
    Packet,
    /// The proxy, beside HAProxy and nginx
    Proxy,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (what, wish) = match arguments.what {
        What::Packet => ("packet", setup::Wish::Everything),
        What::Proxy => ("proxy", setup::Wish::Peers),
    };
    setup::run(wish)?;
    let programs = build::release()?;
    let ctl = build::find(&programs, "harbor-ctl")?;
    let bench = build::find(&programs, "harbor-bench")?;
    let variables = [("HARBOR_CTL", ctl.as_os_str())];
    let mut command = shell::privileged(bench, &variables);
    shell::foreground(command.arg(what).args(&arguments.rest))
}
