//! Addresses as they stand in keys and values.
//!
//! Octets are kept in network order, which is the order that a person reads; ports are plain `u16`
//! in host order, so that `bpftool map dump` shows 35000 and not 47240. Each family has a flow table
//! of its own ([`Ipv4`], [`Ipv6`]); every other table holds both families as [`Ip`].

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IPv4 address, most significant octet first, aligned so that it loads as one word.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4 {
    /// The four octets in reading order.
    pub octets: [u8; 4],
}
crate::assert_size!(Ipv4, 4);

/// An IPv6 address, most significant octet first, aligned to words.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6 {
    /// The sixteen octets in reading order.
    pub octets: [u8; 16],
}
crate::assert_size!(Ipv6, 16);

/// An address of either family: IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip {
    /// The sixteen octets in reading order.
    pub octets: [u8; 16],
}
crate::assert_size!(Ip, 16);

/// What the generic packet path needs to know about a family's addresses.
pub trait Family: Copy + Eq + Default {
    /// 0 for IPv4, 1 for IPv6: where a family's half of a table begins.
    const INDEX: u32;

    /// The address as tables of both families hold it.
    fn ip(&self) -> Ip;

    /// Whom the address stands for: an IPv4 address for itself, an IPv6 address for its network of 64
    /// bits, all of which one subscriber has.
    fn network(&self) -> Ip;

    /// This family's address in an [`Ip`] of this family.
    fn of(ip: &Ip) -> Self;

    /// The sum of the address's octets as 16-bit words in memory order (RFC 1071).
    fn sum(&self) -> u32;

    /// The sum of the words' complements: what to add when the address is taken out (RFC 1624).
    fn complement_sum(&self) -> u32;

    /// Reads an address that others may be changing, word by word. A compiler left to itself would
    /// store it octet by octet, and a CPU cannot forward such stores to later loads.
    ///
    /// # Safety
    ///
    /// `address` points to a readable address.
    unsafe fn load(address: *const Self) -> Self;
}

/// The sum of a word's halves.
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

impl Family for Ipv4 {
    const INDEX: u32 = 0;

    #[inline(always)]
    fn ip(&self) -> Ip {
        let [a, b, c, d] = self.octets;
        Ip {
            octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
        }
    }

    #[inline(always)]
    fn network(&self) -> Ip {
        self.ip()
    }

    #[inline(always)]
    fn of(ip: &Ip) -> Self {
        let [.., a, b, c, d] = ip.octets;
        Self::new([a, b, c, d])
    }

    #[inline(always)]
    fn sum(&self) -> u32 {
        halves(u32::from_ne_bytes(self.octets))
    }

    #[inline(always)]
    unsafe fn load(address: *const Self) -> Self {
        // SAFETY: by the caller; the type is aligned like a word.
        let word = unsafe { address.cast::<u32>().read_volatile() };
        Self::new(word.to_ne_bytes())
    }

    #[inline(always)]
    fn complement_sum(&self) -> u32 {
        halves(!u32::from_ne_bytes(self.octets))
    }
}

impl Ipv6 {
    /// An address from its words as they stand in memory.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self {
            // SAFETY: sixteen octets either way, and any octets are valid.
            octets: unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) },
        }
    }

    /// Its words as they stand in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        // SAFETY: sixteen octets either way, and any octets are valid.
        unsafe { core::mem::transmute::<[u8; 16], [u32; 4]>(self.octets) }
    }
}

impl Family for Ipv6 {
    const INDEX: u32 = 1;

    #[inline(always)]
    fn ip(&self) -> Ip {
        Ip {
            octets: self.octets,
        }
    }

    #[inline(always)]
    fn network(&self) -> Ip {
        let [a, b, ..] = self.words();
        Self::from_words([a, b, 0, 0]).ip()
    }

    #[inline(always)]
    fn of(ip: &Ip) -> Self {
        Self { octets: ip.octets }
    }

    #[inline(always)]
    fn sum(&self) -> u32 {
        let [a, b, c, d] = self.words();
        halves(a) + halves(b) + halves(c) + halves(d)
    }

    #[inline(always)]
    unsafe fn load(address: *const Self) -> Self {
        let word = address.cast::<u32>();
        // SAFETY: by the caller; the type is aligned like a word and has four of them.
        let words = unsafe {
            [
                word.read_volatile(),
                word.add(1).read_volatile(),
                word.add(2).read_volatile(),
                word.add(3).read_volatile(),
            ]
        };
        Self::from_words(words)
    }

    #[inline(always)]
    fn complement_sum(&self) -> u32 {
        let [a, b, c, d] = self.words();
        halves(!a) + halves(!b) + halves(!c) + halves(!d)
    }
}

impl Ipv4 {
    /// An address from its octets in reading order.
    #[inline(always)]
    pub const fn new(octets: [u8; 4]) -> Self {
        Self { octets }
    }
}

impl Ip {
    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        matches!(
            self.octets,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, _, _, _, _]
        )
    }

    /// No address: "on link" for a gateway.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        u128::from_ne_bytes(self.octets) == 0
    }

    /// Hashes the address to a number (the finalizer of MurmurHash3, by Austin Appleby): the client's
    /// place in a table of turns.
    #[inline(always)]
    pub const fn mixed(&self) -> u32 {
        let o = &self.octets;
        let words = [
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ];
        let mut hash = u32::from_ne_bytes([o[0], o[1], o[2], o[3]]);
        let mut index = 0;
        while index < words.len() {
            hash = hash.wrapping_mul(31) ^ words[index];
            hash ^= hash >> 16;
            hash = hash.wrapping_mul(0x85eb_ca6b);
            hash ^= hash >> 13;
            hash = hash.wrapping_mul(0xc2b2_ae35);
            hash ^= hash >> 16;
            index += 1;
        }
        hash
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

impl From<Ipv6Addr> for Ipv6 {
    fn from(address: Ipv6Addr) -> Self {
        Self {
            octets: address.octets(),
        }
    }
}

impl From<Ipv6> for Ipv6Addr {
    fn from(address: Ipv6) -> Self {
        Self::from(address.octets)
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Ipv4::from(address).ip(),
            IpAddr::V6(address) => Ipv6::from(address).ip(),
        }
    }
}

impl Ip {
    /// Whom the address stands for: see [`Family::network`].
    pub fn network(&self) -> Self {
        match self.is_v4() {
            true => *self,
            false => Ipv6::of(self).network(),
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(ip: Ip) -> Self {
        if ip.is_v4() {
            Self::V4(Ipv4::of(&ip).into())
        } else {
            Self::V6(ip.octets.into())
        }
    }
}

impl fmt::Display for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(*self).fmt(f)
    }
}

impl fmt::Display for Ipv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(*self).fmt(f)
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// What an own address is for; the value of the `addresses` map, whose key is an [`Ip`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// A sum of the role constants below, with the view in the bits from [`Address::VIEW_SHIFT`] up, and
    /// the share in those from [`Address::SHARE_SHIFT`] up.
    pub roles: u32,
}
crate::assert_size!(Address, 4);

impl Address {
    /// Clients connect to it: frontends answer on this address.
    pub const PUBLIC: u32 = 1;
    /// Backends see it: translated packets leave with this source address.
    pub const TRANSLATION: u32 = 2;
    /// The host has it: no packet from outside may claim it as its source.
    pub const LOCAL: u32 = 4;
    /// Where the view begins in `roles`; it has eight bits.
    pub const VIEW_SHIFT: u32 = 8;
    /// Where the share begins in `roles`.
    pub const SHARE_SHIFT: u32 = 16;

    /// The number of the view whose routes apply to packets with this source: the first part of a
    /// key of the `routes` trie.
    #[inline(always)]
    pub const fn view(&self) -> u32 {
        self.roles >> Self::VIEW_SHIFT & 0xff
    }

    /// The number of the share of a pool that the address belongs to; 0 = none.
    #[inline(always)]
    pub const fn share(&self) -> u32 {
        self.roles >> Self::SHARE_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_family_comes_back_as_it_was() {
        for text in ["192.0.2.1", "2001:db8::7", "::", "255.255.255.255"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Ip::from(address)), address);
        }
        let mapped = Ip::from(IpAddr::from([192, 0, 2, 1]));
        assert!(mapped.is_v4());
        assert_eq!(Ipv4::of(&mapped), Ipv4::new([192, 0, 2, 1]));
    }
}
