//! `cargo xtask VERB`: Harbor's own commands, one file a verb.
//!
//! Owns how things are built, installed and started for development; nothing here ships. No verb needs
//! preparation: each installs or builds what is missing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is its purpose"
)]
#![allow(
    unreachable_pub,
    reason = "toolchain.rs is also part of harbor-ctl's build script"
)]

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod build;
mod ci;
mod console;
mod dist;
mod ebpf;
mod lab;
mod lint;
mod matrix;
mod packages;
mod progress;
mod python;
mod run;
mod setup;
mod shell;
mod soak;
mod test;
mod toolchain;
mod traces;

/// Builds, runs and tests Harbor.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Verb {
    /// Install what building and testing need (Debian), or say how (elsewhere)
    Setup,
    /// Build the eBPF object; print its path and size
    Ebpf,
    /// Run the agent in the foreground, on this machine or in a lab of namespaces
    Run(run::Arguments),
    /// Bring the lab up, take it down, or open a shell in it
    #[command(subcommand)]
    Lab(lab::Arguments),
    /// Run the tests: unit, verdict, lab or all of them
    Test(test::Arguments),
    /// Run a long test by name, out of CI
    Soak(soak::Arguments),
    /// Run parts of the suite on the kernels of Debian's releases, by emulation
    Matrix(matrix::Arguments),
    /// Make what the documentation shows of the console
    #[command(subcommand)]
    Console(console::Verb),
    /// Measure what a packet costs beside plain routing and nftables, or the proxy beside HAProxy and nginx
    Bench(bench::Arguments),
    /// Build the Debian package, and a tarball of the same files
    Dist(dist::Arguments),
    /// Check formatting and lints
    Lint,
    /// What a change must pass: lint, then all tests
    Ci,
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Setup => setup::run(setup::Wish::Everything),
        Verb::Ebpf => ebpf::run(),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Lab(arguments) => lab::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Matrix(arguments) => matrix::run(&arguments),
        Verb::Console(verb) => console::run(&verb),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Dist(arguments) => dist::run(&arguments),
        Verb::Lint => lint::run(),
        Verb::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
