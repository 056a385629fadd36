//! Addresses as they stand in keys and values.
//!
//! Octets are kept in network order, which is the order that a person reads; ports are plain `u16`
//! in host order, so that `bpftool map dump` shows 35000 and not 47240.

use core::{fmt, net::Ipv4Addr};

/// An IPv4 address, most significant octet first, aligned so that it loads as one word.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4 {
    /// The four octets in reading order.
    pub octets: [u8; 4],
}
crate::assert_size!(Ipv4, 4);

impl Ipv4 {
    /// An address from its octets in reading order.
    #[inline(always)]
    pub const fn new(octets: [u8; 4]) -> Self {
        Self { octets }
    }
}

impl From<Ipv4Addr> for Ipv4 {
    fn from(address: Ipv4Addr) -> Self {
        Self::new(address.octets())
    }
}

impl From<Ipv4> for Ipv4Addr {
    fn from(address: Ipv4) -> Self {
        Self::from(address.octets)
    }
}

impl fmt::Display for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(*self).fmt(f)
    }
}

/// What an own address is for; the value of the `addresses` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// A sum of the role constants below.
    pub roles: u32,
}
crate::assert_size!(Address, 4);

impl Address {
    /// Clients dial it: frontends answer on this address.
    pub const PUBLIC: u32 = 1;
    /// Backends see it: translated packets leave with this source address.
    pub const TRANSLATION: u32 = 2;
    /// The host has it: no packet from outside may claim it as its source.
    pub const LOCAL: u32 = 4;
}
