//! Harbor's datapath. `pipeline` is the path at TC and `established` the one at XDP; each stage is
//! a file of its own, `packet` is a frame as the stages see it, and `maps` holds every table.
//!
//! Stages that need no kernel helper also compile for the host, and are tested there.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod bound;
pub mod code;
pub mod ip;
pub mod packet;
pub mod parsed;
pub mod stage;
#[cfg(test)]
mod testing;
pub mod way;

#[cfg(target_arch = "bpf")]
pub mod account;
#[cfg(target_arch = "bpf")]
pub mod adopt;
#[cfg(target_arch = "bpf")]
pub mod atomic;
#[cfg(target_arch = "bpf")]
pub mod clients;
#[cfg(target_arch = "bpf")]
pub mod clock;
#[cfg(target_arch = "bpf")]
pub mod config;
#[cfg(target_arch = "bpf")]
pub mod credible;
#[cfg(target_arch = "bpf")]
pub mod ends;
#[cfg(target_arch = "bpf")]
pub mod errors;
#[cfg(target_arch = "bpf")]
pub mod established;
#[cfg(target_arch = "bpf")]
pub mod family;
#[cfg(target_arch = "bpf")]
pub mod frontends;
#[cfg(target_arch = "bpf")]
pub mod linear;
#[cfg(target_arch = "bpf")]
pub mod maps;
#[cfg(target_arch = "bpf")]
pub mod opening;
#[cfg(target_arch = "bpf")]
pub mod phases;
#[cfg(target_arch = "bpf")]
pub mod pipeline;
#[cfg(target_arch = "bpf")]
pub mod reverse_path;
#[cfg(target_arch = "bpf")]
pub mod ring;
#[cfg(target_arch = "bpf")]
pub mod route;
#[cfg(target_arch = "bpf")]
pub mod scan;
#[cfg(target_arch = "bpf")]
pub mod skb;
#[cfg(target_arch = "bpf")]
pub mod state;
#[cfg(target_arch = "bpf")]
pub mod steer;
#[cfg(target_arch = "bpf")]
pub mod suspicion;
#[cfg(target_arch = "bpf")]
pub mod sweep;
#[cfg(target_arch = "bpf")]
pub mod table;
#[cfg(target_arch = "bpf")]
pub mod timer;
#[cfg(target_arch = "bpf")]
pub mod trace;
#[cfg(target_arch = "bpf")]
pub mod xdp;
