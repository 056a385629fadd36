//! What the proxy costs: no proxy, HAProxy, nginx and Harbor, one after the other in rounds.
//!
//! All stand on one node between a client and an app. Connections: clients in two threads connect,
//! ask, are answered and close, one after the other. Latency: one connection asks again and again,
//! and client, app and proxy share one processor. Bulk: one connection sends as fast as it can.
//! Processor time is what the proxy's own threads have run, and what the kernel did in their name.

mod app;
mod client;
mod ground;
mod processor;
mod report;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::progress;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; each measures every proxy once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.rounds < 2 {
        bail!("at least two rounds");
    }
    let ground = ground::Ground::new()?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let mut rounds = Vec::new();
    let progress = progress::rounds("proxies", arguments.rounds);
    for _ in 0..arguments.rounds {
        let samples = ground
            .ways
            .iter()
            .map(|way| client::measure(&ground.lab, way, time))
            .collect::<Result<Vec<_>>>()?;
        rounds.push(samples);
        progress.inc(1);
    }
    progress.finish_and_clear();
    report::print(&ground.ways, &rounds);
    Ok(())
}
