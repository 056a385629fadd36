//! What a packet costs: plain routing, nftables and Harbor, one after the other in rounds.
//!
//! Frames are sent by the kernel itself (`BPF_PROG_TEST_RUN` with live frames), counted and thrown away
//! at the app host; processor time of this process and of the softirq thread is divided by the frames
//! that arrived. Single figures are this machine's; the ratio to routing of the same round holds.

mod assembler;
mod chart;
mod frames;
mod ground;
mod kernel;
mod measure;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};

use frames::Senders;
pub(crate) use ground::forward;
use ground::{Mode, Traffic};
use report::Figure;

use crate::progress;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; each measures every mode once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Three short rounds: a first impression
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Flows at once, powers of two
    #[arg(long, default_values_t = [256, 16_384])]
    flows: Vec<u32>,
    /// These rows alone
    #[arg(long = "row", value_enum)]
    rows: Vec<Row>,
    /// What to measure, the yardstick first
    #[arg(long = "mode", value_enum, default_values_t = [Mode::Route, Mode::Nftables, Mode::Harbor, Mode::HarborXdp])]
    modes: Vec<Mode>,
    /// Write the figures to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw them into this file
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    /// Of established flows, at random
    Flows,
    /// Each the first of a new flow
    New,
    /// None of Harbor's: the node routes them
    Foreign,
}

/// Ports that new flows come from, each from 65,536 addresses; and flows of foreign packets.
const FEW: u32 = 256;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (rounds, seconds) = match arguments.quick {
        true => (3, 0.1),
        false => (arguments.rounds, arguments.seconds),
    };
    if rounds < 2 || !arguments.flows.iter().all(|flows| flows.is_power_of_two()) {
        bail!("at least two rounds, and powers of two of flows");
    }
    let takes = |row: Row| arguments.rows.is_empty() || arguments.rows.contains(&row);
    let mut plans = Vec::new();
    if takes(Row::Flows) {
        let of = |flows: &u32| (format!("{flows} flows"), *flows, Senders::One, Traffic::Own);
        plans.extend(arguments.flows.iter().map(of));
    }
    if takes(Row::New) {
        plans.push(("a new flow".into(), FEW, Senders::Many, Traffic::Own));
    }
    if takes(Row::Foreign) {
        plans.push(("not ours".into(), FEW, Senders::One, Traffic::Foreign));
    }
    report::header();
    let mut figures = Vec::new();
    for (name, flows, senders, traffic) in plans {
        // Its table of connections is the machine's, and full at once.
        let takes = |mode: &&Mode| senders == Senders::One || **mode != Mode::Nftables;
        let modes: Vec<Mode> = arguments.modes.iter().filter(takes).copied().collect();
        let grounds = ground::all(&modes, flows, traffic)?;
        let progress = progress::rounds(&name, rounds);
        let round = |_| {
            let cost = |ground| measure::cost(ground, (flows, senders), seconds);
            let costs = grounds.iter().map(cost).collect::<Result<Vec<_>>>();
            progress.inc(1);
            costs
        };
        let samples = (0..rounds).map(round).collect::<Result<Vec<_>>>()?;
        progress.finish_and_clear();
        figures.extend(report::figures(&name, &grounds, &samples));
    }
    write(arguments, rounds, &figures)
}

fn write(arguments: &Arguments, rounds: usize, figures: &[Figure]) -> Result<()> {
    if let Some(path) = &arguments.json {
        report::write_json(path, rounds, figures)?;
    }
    if let Some(path) = &arguments.svg {
        report::write_svg(path, figures)?;
    }
    Ok(())
}
