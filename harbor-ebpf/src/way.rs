//! Where one packet goes: the finished translation of its flow, as copied from the table.

use harbor_common::{event::Sighting, flow::Flow};

/// What `translate` and `emit` need to know; for IPv4, one cache line.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Way<A> {
    /// The source that the packet leaves with.
    pub source: A,
    /// The destination that the packet leaves with.
    pub destination: A,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// Folded one's complement difference of the addresses.
    pub address_delta: u16,
    /// Folded one's complement difference of the ports.
    pub port_delta: u16,
    /// `Flow::FORWARD` or `Flow::REPLY`.
    pub direction: u16,
    /// The largest IP packet that the route takes; 0 = not known.
    pub mtu: u16,
    /// The interface that the packet leaves by.
    pub ifindex: u32,
    /// Element of `next_hops`; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// The frontend's slot.
    pub frontend: u32,
    /// The flow's backend slot.
    pub backend: u32,
    /// The slot's generation when the flow began.
    pub backend_generation: u32,
    /// A fragment's new identification.
    pub identification: u32,
    /// Why another backend should have the flow, if one can.
    pub doubt: Doubt,
    /// The flow's word as it was read.
    pub word: u64,
}

/// What speaks against a new flow's backend; numbered as the reasons of [`Sighting`].
#[repr(u32)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing that its packets have shown.
    #[default]
    None = Sighting::UNREACHABLE,
    /// It has not answered a SYN, and the client asks again.
    Silent = Sighting::SILENT,
    /// It has answered a SYN with a reset.
    Refused = Sighting::REFUSED,
}

impl<A> Way<A> {
    /// The public port, host order, of a flow whose packet arrived at this port.
    #[inline(always)]
    pub fn public_port(&self, arrived_at: u16) -> u16 {
        if self.direction == Flow::<A>::FORWARD {
            arrived_at
        } else {
            self.source_port
        }
    }
}
