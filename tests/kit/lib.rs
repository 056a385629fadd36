//! What the suite is made of: a lab of network namespaces, the real agent in it, real traffic
//! through it, and frames of our own making run through the loaded program.
//!
//! Knows the binary's outside and harbor-common. Shares no decision code with the datapath: its
//! packet builder and parser were written apart, so that they can disagree. Everything here panics
//! where it cannot go on, and cleans up when it does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "test support: a lab that cannot be set up is a failed test, told on stderr"
)]

mod agent;
pub mod app_host;
mod beyond;
pub mod bound;
mod bpffs;
mod browser;
mod certificate;
mod counters;
mod eventually;
mod family;
pub mod frame;
mod frozen;
pub mod http;
mod keepalived;
mod lab;
mod netns;
mod offloads;
mod pins;
mod process;
mod redis;
mod relay;
mod service_manager;
mod small_disk;
pub mod traffic;
pub mod trickle;
mod tunnel;
mod unanswered;
pub mod verdict;
mod wire;
mod wrong_clock;

pub use agent::{Agent, Config};
pub use beyond::{Beyond, SMALL_MTU, without_offloads};
pub use browser::{Browser, Tab};
pub use certificate::{certify, certify_briefly, certify_expired};
pub use eventually::{eventually, patient, until};
pub use family::{
    Family,
    Family::{V4, V6},
};
pub use frozen::FrozenThread;
pub use keepalived::Keepalived;
pub use lab::{APP_MACS, CLIENT_MAC, Lab, NODE_BACKEND_MAC, NODE_MAC, Topology, tear_down};
pub use netns::{Lifetime, Netns};
pub use process::{Finished, Process, allow_many_descriptors, binary, finish, finish_within};
pub use redis::Redis;
pub use relay::relay;
pub use service_manager::ServiceManager;
pub use small_disk::SmallDisk;
pub use tunnel::Tunnel;
pub use unanswered::Unanswered;
pub use wire::Wire;
pub use wrong_clock::WrongClock;
