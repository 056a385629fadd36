//! `harbor-ctl`: the agent, and the command line that talks to it.

mod agent;
mod allocator;
mod api;
mod cli;
mod config;
mod console;
mod control;
mod controller;
mod copies;
mod datapath;
mod dea;
mod discovery;
mod doctor;
mod forwarding;
mod gateway;
mod health;
mod http;
mod metrics;
mod model;
mod pools;
mod proxy;
mod reconcile;
mod registry;
mod telemetry;
mod tls;
mod views;

use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider of cryptography for every client and server in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(|path, flags| agent::run(path, flags).map_err(model::Refusal::from))
}
