//! The few BPF system calls that a library does not offer for programs of one's own making.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::libc;

use super::assembler::Program;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const PROG_LOAD: libc::c_long = 5;
const TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

/// `BPF_MAP_TYPE_ARRAY`, `BPF_PROG_TYPE_XDP` and `BPF_XDP`.
const ARRAY: u64 = 2;
const XDP: u32 = 6;
const XDP_ATTACH: u32 = 37;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: frames that a program under test sends are really sent.
const LIVE_FRAMES: u32 = 2;

/// Larger than every form of `union bpf_attr` used here; what lies behind a form must be zero.
const ATTRIBUTES: usize = 128;

/// Writes fields of so many octets one after the other, and calls.
fn call(command: libc::c_long, fields: &[(usize, u64)]) -> io::Result<libc::c_long> {
    let mut attributes = [0u8; ATTRIBUTES];
    let mut at = 0;
    for (width, value) in fields {
        attributes[at..at + width].copy_from_slice(&value.to_ne_bytes()[..*width]);
        at += width;
    }
    // SAFETY: the attributes are initialised to their full size; addresses among them are of buffers
    // that the caller keeps alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), at) };
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(result: io::Result<libc::c_long>, what: &str) -> Result<OwnedFd> {
    let number = result.with_context(|| format!("cannot make {what}"))?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// A counter: an array of one element.
pub(crate) struct Counter(OwnedFd);

impl Counter {
    pub(crate) fn new() -> Result<Self> {
        let fields = [(4, ARRAY), (4, 4), (4, 8), (4, 1)];
        descriptor(call(MAP_CREATE, &fields), "a counter").map(Self)
    }

    pub(crate) fn id(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(crate) fn read(&self) -> Result<u64> {
        let (key, mut value) = (0u32, 0u64);
        let fields = [
            (8, self.id() as u64),
            (8, &raw const key as u64),
            (8, &raw mut value as u64),
        ];
        call(MAP_LOOKUP, &fields).context("cannot read the counter")?;
        Ok(value)
    }
}

/// A loaded XDP program.
pub(crate) struct Loaded(OwnedFd);

impl Loaded {
    pub(crate) fn new(program: &Program) -> Result<Self> {
        let mut log = vec![0u8; 1 << 16];
        let license = CString::new("Dual MIT/GPL")?;
        let fields = [
            (4, u64::from(XDP)),
            (4, program.instructions.len() as u64),
            (8, program.instructions.as_ptr() as u64),
            (8, license.as_ptr() as u64),
            (4, 1),
            (4, log.len() as u64),
            (8, log.as_mut_ptr() as u64),
        ];
        let loaded = descriptor(call(PROG_LOAD, &fields), "a program");
        loaded.map(Self).with_context(|| {
            let end = log.iter().position(|octet| *octet == 0).unwrap_or_default();
            String::from_utf8_lossy(&log[..end]).into_owned()
        })
    }

    /// Attaches it to an interface of this namespace, until the answer is dropped.
    pub(crate) fn attach(&self, ifindex: u32) -> Result<OwnedFd> {
        let fields = [
            (4, self.0.as_raw_fd() as u64),
            (4, u64::from(ifindex)),
            (4, u64::from(XDP_ATTACH)),
            (4, 0),
        ];
        descriptor(call(LINK_CREATE, &fields), "a link")
    }

    /// Lets it send `count` frames out of an interface of this namespace.
    pub(crate) fn send(&self, ifindex: u32, count: u32) -> Result<()> {
        let frame = [0u8; FRAME];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0u32, FRAME as u32, 0, ifindex, 0, 0];
        let fields = [
            (4, self.0.as_raw_fd() as u64),
            (4, 0),
            (4, FRAME as u64),
            (4, 0),
            (8, frame.as_ptr() as u64),
            (8, 0),
            (4, u64::from(count)),
            (4, 0),
            (4, size_of_val(&context) as u64),
            (4, 0),
            (8, context.as_ptr() as u64),
            (8, 0),
            (4, u64::from(LIVE_FRAMES)),
            (4, 0),
            (4, 64),
        ];
        call(TEST_RUN, &fields).context("live frames were refused")?;
        Ok(())
    }
}

/// Octets of a frame.
pub(crate) const FRAME: usize = 64;
