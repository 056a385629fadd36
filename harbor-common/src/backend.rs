//! Backends as the datapath sees them: one slot each, and a hash that finds the slot by endpoint.

use crate::addr::Ip;

/// One app instance behind one frontend; an element of the `backends` array.
///
/// A flow remembers slot and generation. The next backend in the slot has a higher generation, so a
/// flow of the previous one can tell that its backend is gone.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Counts the backends that have had this slot; 0 = never used. Written together with `state`.
    pub generation: u32,
    /// One of the state constants below.
    pub state: u32,
    /// Where the instance listens.
    pub address: Ip,
    /// The interface index that leads to the backend.
    pub ifindex: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// Where the instance listens, host order.
    pub port: u16,
    /// The public port that it stands behind, host order.
    pub frontend_port: u16,
    /// Element of `sources`: the node's addresses that packets towards this backend may carry.
    pub sources: u32,
}
crate::assert_size!(Backend, 40);

impl Backend {
    /// The slot is free. The next packet of a flow that still names it ends that flow.
    pub const GONE: u32 = 0;
    /// Takes new flows.
    pub const ACTIVE: u32 = 1;
    /// Keeps its flows, takes no new ones.
    pub const DRAINING: u32 = 2;
    /// Failing: takes no new flows and keeps its TCP flows; its UDP flows move to another backend.
    pub const UNHEALTHY: u32 = 3;
    /// The agent has seen it fail: it takes new flows only if no other backend can, or when no agent
    /// runs; all its flows stay.
    pub const EJECTED: u32 = 4;

    /// The name of a state constant.
    pub const fn state_name(state: u32) -> &'static str {
        match state {
            Self::ACTIVE => "active",
            Self::DRAINING => "draining",
            Self::UNHEALTHY => "unhealthy",
            Self::EJECTED => "ejected",
            _ => "gone",
        }
    }
}

/// Key of the `endpoints` hash: is this sender one of our backends?
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where the instance listens.
    pub address: Ip,
    /// Where the instance listens, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u16,
}
crate::assert_size!(Endpoint, 20);

/// The most addresses that one element of `sources` can hold; a power of two.
pub const SOURCE_ADDRESSES: usize = 8;

/// The node's addresses that packets to some backends leave with; an element of `sources`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sources {
    /// How many of `addresses` are in use; all are of one family.
    pub count: u32,
    /// Zero.
    pub _pad: u32,
    /// In order of preference: the route's own source first.
    pub addresses: [Ip; SOURCE_ADDRESSES],
}
crate::assert_size!(Sources, 8 + 16 * SOURCE_ADDRESSES);

/// What the datapath has learnt of a backend; an element of `backend_state`, indexed by its slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendState {
    /// Flows in the table now.
    pub flows: u64,
    /// Flows that have ended.
    pub ended: u64,
    /// Packets of ended flows, from clients.
    pub forward_packets: u64,
    /// Bytes of ended flows, from clients.
    pub forward_bytes: u64,
    /// Packets of ended flows, from the backend.
    pub reply_packets: u64,
    /// Bytes of ended flows, from the backend.
    pub reply_bytes: u64,
    /// Until when it gets no new flow if another backend can take it, `CLOCK_MONOTONIC` ns. Set only
    /// while no agent runs that would ask the backend itself.
    pub suspect_until_ns: u64,
    /// The generation of the backend that this, `failures` and `witness` are about.
    pub generation: u32,
    /// How often in a row it was avoided; each time is twice as long as the one before.
    pub failures: u32,
    /// [`crate::control::Control::route_generation`] when the route below was found.
    pub route_generation: u32,
    /// The interface that leads to the backend; 0 = not looked up yet.
    pub ifindex: u32,
    /// Element of `next_hops`; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// The largest IP packet that the route takes; 0 = not known.
    pub mtu: u32,
    /// A hash of the client whose flow failed, as long as no flow has succeeded since; 0 = none.
    pub witness: u32,
    /// When that was, in the units of [`crate::flow::Flow::opened`].
    pub witnessed: u32,
    /// When the agent was told last, in the same units.
    pub told: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(BackendState, 96);
