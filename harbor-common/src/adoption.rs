//! A flow that was served from other tables, to be entered into these.

use crate::{addr::Ipv6, flow::FlowKey};

/// One element of the "packet" that the `adopt` program is run on. Addresses are IPv6; IPv4 ones stand in
/// the last four octets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The forward entry's word.
    pub word: u64,
    /// When the last packet passed, each way.
    pub seen_ns: [u64; 2],
    /// Packets, each way.
    pub packets: [u64; 2],
    /// Bytes, each way.
    pub bytes: [u64; 2],
    /// The forward entry's key.
    pub key: FlowKey<Ipv6>,
    /// The backend.
    pub backend_address: Ipv6,
    /// The node's address that the backend sees.
    pub source: Ipv6,
    /// Host order.
    pub backend_port: u16,
    /// The node's port that the backend sees, host order.
    pub source_port: u16,
    /// [`crate::addr::Family::INDEX`] of the flow's family.
    pub family: u32,
    /// As [`crate::flow::Flow::acknowledged`], each way.
    pub acknowledged: [u32; 2],
    /// As [`crate::flow::Flow::next_sequence`], each way.
    pub next_sequence: [u32; 2],
    /// As [`crate::flow::Flow::opened`].
    pub opened: u32,
    /// The backend's slot here.
    pub backend: u32,
    /// And its generation.
    pub backend_generation: u32,
    /// The frontend's slot here.
    pub frontend: u32,
    /// The interfaces that packets left by, each way; the first packet looks its route up, and leaves by
    /// this one where none is known.
    pub ifindex: [u32; 2],
    /// The reply entry's state bits.
    pub reply_bits: u64,
}
crate::assert_size!(Adoption, 184);

impl Adoption {
    /// How many fit one run of the program.
    pub const PER_RUN: usize = 16;
}
