//! What Harbor costs, beside others, in turn in one run. Started by `cargo xtask bench`.
#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

mod packet;
mod progress;
mod proxy;
mod spread;

use anyhow::Result;
use clap::Parser;

/// What to measure.
#[derive(Parser)]
enum What {
    /// What a packet costs, beside routing and nftables
    Packet(packet::Arguments),
    /// What the proxy costs, beside HAProxy and nginx
    Proxy(proxy::Arguments),
}

fn main() -> Result<()> {
    match What::parse() {
        What::Packet(arguments) => packet::run(&arguments),
        What::Proxy(arguments) => proxy::run(&arguments),
    }
}
