//! What a packet costs: plain routing, nftables and Harbor, one after the other in rounds.
//!
//! Frames are sent by the kernel itself (`BPF_PROG_TEST_RUN` with live frames), counted and thrown away
//! at the app host; processor time of this process and of the softirq thread is divided by the frames
//! that arrived. Single figures are this machine's; the ratio to routing of the same round holds.

mod assembler;
mod frames;
mod ground;
mod kernel;
mod measure;
mod report;

use anyhow::{Result, bail};

use frames::Senders;
use ground::Mode;
pub(crate) use ground::forward;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; each measures every mode once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Flows at once, powers of two
    #[arg(long, default_values_t = [256, 16_384])]
    flows: Vec<u32>,
    /// What to measure, the yardstick first
    #[arg(long = "mode", value_enum, default_values_t = [Mode::Route, Mode::Nftables, Mode::Harbor, Mode::HarborXdp])]
    modes: Vec<Mode>,
    /// Measure new flows as well: every packet opens one
    #[arg(long)]
    new: bool,
}

/// Ports that new flows come from, each from 65,536 addresses.
const NEW: u32 = 256;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.rounds < 2 || !arguments.flows.iter().all(|flows| flows.is_power_of_two()) {
        bail!("at least two rounds, and powers of two of flows");
    }
    report::header();
    for flows in &arguments.flows {
        row(arguments, *flows, Senders::One)?;
    }
    if arguments.new {
        row(arguments, NEW, Senders::Many)?;
    }
    Ok(())
}

/// Measures every mode in turn, round by round.
fn row(arguments: &Arguments, flows: u32, senders: Senders) -> Result<()> {
    let grounds = ground::all(&arguments.modes, flows)?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let samples = grounds
            .iter()
            .map(|ground| measure::cost(ground, (flows, senders), arguments.seconds))
            .collect::<Result<Vec<_>>>()?;
        rounds.push(samples);
    }
    let name = match senders {
        Senders::One => flows.to_string(),
        Senders::Many => "each packet a new one".to_owned(),
    };
    report::rows(&name, &grounds, &rounds);
    Ok(())
}
