//! The lab for people: a demonstration that ends by itself, or a lab that stands until it is taken
//! down. Started by `cargo xtask run --lab` and `cargo xtask lab`.
#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

mod demo;
mod servers;
mod standing;

use std::process::ExitCode;

use clap::Parser;

/// What to do.
#[derive(Parser)]
enum Verb {
    /// Ports, traffic and the table of ports, in a lab that is gone afterwards
    Demo,
    /// Make the lab, start servers and agent, create two ports
    Up,
    /// Remove all that `up` made
    Down,
    /// Open a shell in one of the lab's hosts
    Shell {
        /// client, node, app1 or app2
        host: String,
    },
}

fn main() -> ExitCode {
    match Verb::parse() {
        Verb::Demo => demo::run(),
        Verb::Up => standing::up(),
        Verb::Down => standing::down(),
        Verb::Shell { host } => standing::shell(&host),
    }
}
