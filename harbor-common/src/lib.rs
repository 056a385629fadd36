//! The contract between Harbor's kernel programs and its agent.
//!
//! Owns every key and value that enters a map, every verdict, and the names under which maps are
//! pinned. Depends on no other crate and does no I/O. Nothing here may hold implicit padding, a bool,
//! an `Option` or a payload enum: each would leak or corrupt bytes at the boundary.
#![no_std]

pub mod addr;
pub mod adoption;
pub mod backend;
pub mod checksum;
pub mod client;
pub mod control;
pub mod event;
pub mod explain;
pub mod flow;
pub mod flow_layout;
pub mod fragment;
pub mod frontend;
pub mod maps;
pub mod protocol;
pub mod route;
pub mod rules;
pub mod share;
pub mod stats;
pub mod trace;
pub mod verdict;

#[cfg(feature = "user")]
mod pod;

/// Fails to compile when a shared structure is not exactly as large as its fields say.
#[macro_export]
macro_rules! assert_size {
    ($type:ty, $size:expr) => {
        const _: () = assert!(size_of::<$type>() == $size);
    };
}
