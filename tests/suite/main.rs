//! Harbor seen from outside: one binary, one file a theme.
//!
//! Each test has a lab of its own and may run beside any other. Run by `cargo xtask test`, which
//! builds what is tested and has root's rights.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this is tests; clippy exempts only functions marked as such"
)]

mod agent_faults;
mod architecture;
mod attach;
mod beyond;
mod bpftool;
mod cli;
mod completion;
mod conflict;
mod console;
mod discovery;
mod doctor;
mod documents;
mod edges;
mod engines;
mod events;
mod fd_store;
mod flood;
mod fragments;
mod gateway;
mod groups;
mod handover;
mod health;
mod host;
mod isolation;
mod journal;
mod kernels;
mod kit_itself;
mod malformed;
mod many_flows;
mod metrics;
mod model;
mod networks;
mod openapi;
mod operate;
mod package;
mod pools;
mod progress;
mod proxy;
mod real_servers;
mod registry;
mod resets;
mod restart;
mod reuse;
mod rough;
mod scale;
mod scene;
mod silent;
mod soak;
mod sources;
mod support;
mod systemd;
mod terminal;
mod trace;
mod truth;
mod turnover;
mod unanswered;
mod verdicts;
mod verify;
mod xdp;
mod xtask;
