//! Harbor seen from outside: one binary, one file a theme.
//!
//! Each test has a lab of its own and may run beside any other. Run by `cargo xtask test`, which
//! builds what is tested and has root's rights.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests; clippy exempts only functions marked as such"
)]

mod agent_faults;
mod architecture;
mod bpftool;
mod cli;
mod conflict;
mod documents;
mod forward_tcp;
mod forward_udp;
mod host;
mod kit_itself;
mod model;
mod real_servers;
mod restart;
mod scene;
mod soak;
mod systemd;
mod verdicts;
mod xtask;
