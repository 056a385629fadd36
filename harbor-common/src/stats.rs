//! Counters: the datapath keeps them per CPU, and readers add them up.

/// What the datapath counts for all ports together; the element of the `totals` map.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows that are kept now (see [`crate::flow::Phase::is_kept`]).
    pub kept: u64,
    /// Identifications that were given to fragmented datagrams so far.
    pub identifications: u64,
}
crate::assert_size!(Totals, 16);

/// What one frontend has carried; an element of the `counters` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendCounters {
    /// Flows that have begun.
    pub flows: u64,
    /// Packets from clients to backends.
    pub forward_packets: u64,
    /// Bytes of IP packets from clients to backends.
    pub forward_bytes: u64,
    /// Packets from backends to clients.
    pub reply_packets: u64,
    /// Bytes of IP packets from backends to clients.
    pub reply_bytes: u64,
}
crate::assert_size!(FrontendCounters, 40);

impl FrontendCounters {
    /// Adds another CPU's share.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.forward_packets += other.forward_packets;
        self.forward_bytes += other.forward_bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }
}
