//! A per-CPU array read in one system call: exact counts around every single frame cost no more than
//! the frame itself.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{maps::MapData, util::nr_cpus};
use nix::libc;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// An array of `u64` counters.
pub(crate) struct Counters {
    map: MapData,
    elements: usize,
    cpus: usize,
}

impl Counters {
    pub(crate) fn new(map: MapData, elements: usize) -> Self {
        let cpus = nr_cpus().unwrap_or_else(|(path, error)| panic!("{path}: {error}"));
        Self {
            map,
            elements,
            cpus,
        }
    }

    /// Every element, added up over the CPUs.
    pub(crate) fn read(&self) -> Vec<u64> {
        let mut next = 0u32;
        let mut keys = vec![0u32; self.elements];
        let mut values = vec![0u64; self.elements * self.cpus];
        let batch = Batch {
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(self.elements).unwrap(),
            map_fd: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
            ..Batch::default()
        };
        // SAFETY: `keys` and `values` have room for `count` elements of 4 and 8 octets times the
        // number of possible CPUs, which is what the kernel writes of such an array.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_BATCH,
                &raw const batch,
                size_of::<Batch>(),
            )
        };
        assert!(
            result == 0,
            "reading counters: {}",
            io::Error::last_os_error()
        );
        values
            .chunks(self.cpus)
            .map(|shares| shares.iter().sum())
            .collect()
    }
}
