//! Routes out of the node, as the agent has read them from the kernel's own tables.
//!
//! A flow looks up its route once: `routes` has the interface and the gateway, and `neighbours` says
//! which element of `next_hops` holds the hardware addresses. What is missing is left to the kernel.

use crate::{addr::Ip, maps::INTERFACE_SLOTS};

/// Key of the `routes` trie. Its prefix is 32 bits longer than the address's own, and for IPv4 another
/// 96.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// As [`crate::addr::Address::view`]: packets with different sources may be routed by different
    /// tables.
    pub view: u32,
    /// The destination.
    pub address: Ip,
}
crate::assert_size!(RouteKey, 20);

/// Value of the `routes` trie: what all rules and tables of the node together say about a prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The gateway; unspecified = the destination itself is a neighbour.
    pub gateway: Ip,
    /// The interface; 0 = no route is certain.
    pub ifindex: u32,
    /// The largest IP packet that this route takes.
    pub mtu: u32,
    /// Sum of the constants below.
    pub flags: u32,
}
crate::assert_size!(Route, 28);

impl Route {
    /// To a network that one interface alone is part of.
    pub const CONNECTED: u32 = 1;
    /// Other interfaces lead there as well.
    pub const SEVERAL: u32 = 2;
}

/// Key of the `neighbours` hash; its value is an index of `next_hops`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The neighbour.
    pub address: Ip,
    /// The interface that it is behind.
    pub ifindex: u32,
}
crate::assert_size!(Neighbour, 20);

/// A neighbour's hardware address, ready to be written; an element of `next_hops`. In an element that
/// may be in use only `probed_ns` changes: a neighbour with a new address gets another element.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// Destination MAC, then source MAC: the first twelve octets of the frame, in memory order.
    pub hardware: [u32; 3],
    /// The interface; 0 = unused.
    pub ifindex: u32,
    /// When a packet last went through the kernel's own neighbour table instead, so that the
    /// kernel notices a neighbour that is gone. Written by the datapath, `CLOCK_MONOTONIC` ns.
    pub probed_ns: u64,
}
crate::assert_size!(NextHop, 24);

impl NextHop {
    /// `hardware` from its octets in the order of the frame.
    pub fn words(octets: [u8; 12]) -> [u32; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes)
    }

    /// The octets of `hardware` in the order of the frame.
    pub fn octets(&self) -> [u8; 12] {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l]] = self.hardware.map(u32::to_ne_bytes);
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// What the programs must know of an interface; an element of `interfaces`, see [`Interface::slot`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its own hardware address: frames for others are not ours.
    pub hardware: [u8; 6],
    /// Sum of the constants below.
    pub flags: u16,
    /// Its index; 0 = the element is unused.
    pub ifindex: u32,
    /// The interface whose wire it shares, with another address: of macvlan and ipvlan devices; 0 = none.
    pub lower: u32,
}
crate::assert_size!(Interface, 16);

impl Interface {
    /// The element of an interface with this index. Of two that would have the same one, one is left to TC.
    #[inline(always)]
    pub const fn slot(ifindex: u32) -> u32 {
        ifindex & (INTERFACE_SLOTS as u32 - 1)
    }

    /// XDP programs can send frames out of it.
    pub const TAKES_FRAMES: u16 = 1;
    /// `rp_filter=1`: an IPv4 sender must be reached by this interface (RFC 3704, strict).
    pub const STRICT: u16 = 2;
    /// `rp_filter=2`: an IPv4 sender must be reached at all (RFC 3704, loose).
    pub const LOOSE: u16 = 4;
}
