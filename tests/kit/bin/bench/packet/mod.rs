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
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.rounds < 2 || !arguments.flows.iter().all(|flows| flows.is_power_of_two()) {
        bail!("at least two rounds, and powers of two of flows");
    }
    report::header();
    for flows in &arguments.flows {
        let grounds = ground::all(*flows)?;
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            let samples = grounds
                .iter()
                .map(|ground| measure::cost(ground, *flows, arguments.seconds))
                .collect::<Result<Vec<_>>>()?;
            rounds.push(samples);
        }
        report::rows(*flows, &grounds, &rounds);
    }
    Ok(())
}
