//! The stages of the packet path, one a file. A stage never calls a stage; `pipeline` does.

pub mod icmp;
pub mod parse;
pub mod translate;

#[cfg(target_arch = "bpf")]
pub mod flow;
#[cfg(target_arch = "bpf")]
pub mod frontend;
#[cfg(target_arch = "bpf")]
pub mod open;
#[cfg(target_arch = "bpf")]
pub mod select;
