//! Fragmented datagrams: later fragments carry no ports and follow the first one's translation.

use crate::addr::Ip;

/// Key of the `fragments` map: what all fragments of one datagram share (RFC 791, RFC 8200).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentKey {
    /// The sender.
    pub source: Ip,
    /// One of the node's own addresses.
    pub destination: Ip,
    /// The identification as it stands in the header.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u32,
}
crate::assert_size!(FragmentKey, 40);

/// Value of the `fragments` map.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentWay {
    /// When the first fragment passed, or an early fragment that left the datagram to the stack;
    /// `CLOCK_MONOTONIC` nanoseconds (coarse). 0 = about to be removed.
    pub seen_ns: u64,
    /// The source that the fragments leave with.
    pub source: Ip,
    /// The destination that the fragments leave with.
    pub destination: Ip,
    /// The interface that they leave by.
    pub ifindex: u32,
    /// Element of `next_hops`; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// The flow's direction, for the counters; [`FragmentWay::STACK`] = left to the stack.
    pub direction: u32,
    /// The frontend's slot, for the counters.
    pub frontend: u32,
    /// Folded one's complement difference of the addresses.
    pub address_delta: u32,
    /// The identification that the fragments leave with: towards a backend all clients have one
    /// address, so their own would meet.
    pub identification: u32,
}
crate::assert_size!(FragmentWay, 64);

impl FragmentWay {
    /// In `direction`: a later fragment came before the first, so all of them are left to the stack.
    pub const STACK: u32 = 0;
}
