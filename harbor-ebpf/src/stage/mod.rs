//! The stages of the packet path, one a file. A stage never calls a stage; `pipeline` does.

pub mod answer;
pub mod icmp;
pub mod join;
pub mod parse;
pub mod translate;

#[cfg(target_arch = "bpf")]
pub mod claim;
#[cfg(target_arch = "bpf")]
pub mod emit;
#[cfg(target_arch = "bpf")]
pub mod flow;
#[cfg(target_arch = "bpf")]
pub mod fragment;
#[cfg(target_arch = "bpf")]
pub mod frontend;
#[cfg(target_arch = "bpf")]
pub mod limit;
#[cfg(target_arch = "bpf")]
pub mod open;
#[cfg(target_arch = "bpf")]
pub mod select;
