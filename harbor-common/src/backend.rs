//! Backends as the datapath sees them: one slot each, and a hash that finds the slot by endpoint.

use crate::addr::Ipv4;

/// One app instance behind one frontend; an element of the `backends` array.
///
/// A flow remembers slot and generation. The slot's next tenant has a higher generation, so a flow
/// of the former one can tell that its backend is gone.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Counts the tenants of this slot; 0 = never used. Written together with `state`.
    pub generation: u32,
    /// One of the state constants below.
    pub state: u32,
    /// Where the instance listens.
    pub address: Ipv4,
    /// The node's address that translated packets towards this backend carry.
    pub source: Ipv4,
    /// The interface index that leads to the backend.
    pub ifindex: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// Where the instance listens, host order.
    pub port: u16,
    /// The public port that it stands behind, host order.
    pub frontend_port: u16,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Backend, 32);

impl Backend {
    /// No tenant: its flows are over; their next packet ends them.
    pub const GONE: u32 = 0;
    /// Takes new flows.
    pub const ACTIVE: u32 = 1;
    /// Keeps its flows, takes no new ones.
    pub const DRAINING: u32 = 2;

    /// The name of a state constant.
    pub const fn state_name(state: u32) -> &'static str {
        match state {
            Self::ACTIVE => "active",
            Self::DRAINING => "draining",
            _ => "gone",
        }
    }
}

/// Key of the `endpoints` hash: is this sender one of our backends?
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where the instance listens.
    pub address: Ipv4,
    /// Where the instance listens, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u16,
}
crate::assert_size!(Endpoint, 8);
