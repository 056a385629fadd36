//! The command line against a real agent, without root and without a datapath.
//!
//! The agent's BPF directory is an ordinary one, so nothing is forwarded and every port is down;
//! all the rest is real. What needs the kernel is tested in the lab.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends by panicking, and shows what the agent said"
)]

mod configuration;
mod health;
mod numbers;
mod output;
mod refusals;
mod rig;
mod settings;
mod survival;
