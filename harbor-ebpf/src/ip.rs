//! The IP header of each family: how it is rewritten, and what its errors look like.

use harbor_common::{
    addr::{Family, Ipv4, Ipv6},
    checksum,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::packet::{L3, Packet};

/// What the packet path must know of a family's header.
pub trait IpHeader: Family {
    /// Octets of a header without options or extensions.
    const LENGTH: usize;
    /// Protocol number of the family's ICMP.
    const ICMP: u8;

    /// Reads the header at `offset`, and writes its addresses to where they are wanted.
    fn read<P: Packet>(
        packet: &P,
        offset: usize,
        source: &mut Self,
        destination: &mut Self,
    ) -> Option<Facts>;

    /// Writes addresses and time to live into the header at `offset`, and its checksum if it has
    /// one; `delta` is the addresses' difference.
    fn rewrite<P: Packet>(packet: &mut P, offset: usize, new: &Rewrite<'_, Self>) -> Option<()>;

    /// The identification of a fragment whose fragment header, in IPv6, stands at `offset`.
    fn identification<P: Packet>(packet: &P, offset: usize) -> Option<u32>;

    /// Writes the identification of such a fragment, and the header's checksum if it has one.
    fn renumber<P: Packet>(packet: &mut P, offset: usize, identification: u32) -> Option<()>;

    /// Writes a whole header at the usual place: no options, no fragment, time to live 64.
    fn write<P: Packet>(packet: &mut P, new: &Fresh<'_, Self>) -> Option<()>;
}

/// What a header says besides its addresses.
#[derive(Clone, Copy)]
pub struct Facts {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Protocol, or next header.
    pub protocol: u8,
    /// Octets of the whole packet, as the header says.
    pub length: u32,
    /// Nothing stands between this header and the transport's, and it is no fragment.
    pub is_plain: bool,
}

/// What changes in a header.
pub struct Rewrite<'a, A> {
    /// The new sender.
    pub source: &'a A,
    /// The new receiver.
    pub destination: &'a A,
    /// The new time to live.
    pub ttl: u8,
    /// One's complement difference of the addresses.
    pub delta: u16,
}

/// A header of our own.
pub struct Fresh<'a, A> {
    /// The sender.
    pub source: &'a A,
    /// The receiver.
    pub destination: &'a A,
    /// What follows.
    pub protocol: u8,
    /// Octets that follow.
    pub payload: u16,
}

/// IPv4 without options.
const PLAIN_V4: u8 = 0x45;
/// The bits of an IPv4 header's fragment word that make it a fragment.
const FRAGMENT_V4: u16 = 0x3fff;
/// "Don't fragment".
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
/// Where time to live, protocol and checksum stand in an IPv4 header, and then the addresses.
const TTL_V4: usize = 8;
/// The identification in an IPv4 header; a word with flags and offset, and time to live follows.
const IDENTIFICATION_V4: usize = 4;
/// The identification in IPv6's fragment header.
const IDENTIFICATION_V6: usize = 4;
/// Time to live of what we send ourselves.
const TTL: u8 = 64;

impl IpHeader for Ipv4 {
    const LENGTH: usize = Ipv4Hdr::LEN;
    const ICMP: u8 = 1;

    #[inline(always)]
    fn read<P: Packet>(
        packet: &P,
        offset: usize,
        source: &mut Self,
        destination: &mut Self,
    ) -> Option<Facts> {
        let [version, fragment, ttl, from, to] = packet.words(offset)?;
        let [vihl, _, length_high, length_low] = version.to_ne_bytes();
        let [.., high, low] = fragment.to_ne_bytes();
        let [ttl, protocol, ..] = ttl.to_ne_bytes();
        *source = Self::new(from.to_ne_bytes());
        *destination = Self::new(to.to_ne_bytes());
        Some(Facts {
            ttl,
            protocol,
            length: u32::from(u16::from_be_bytes([length_high, length_low])),
            is_plain: vihl == PLAIN_V4 && u16::from_be_bytes([high, low]) & FRAGMENT_V4 == 0,
        })
    }

    #[inline(always)]
    fn rewrite<P: Packet>(packet: &mut P, offset: usize, new: &Rewrite<'_, Self>) -> Option<()> {
        let at = offset + TTL_V4;
        let [word] = packet.words(at)?;
        let [ttl, protocol, a, b] = word.to_ne_bytes();
        // Time to live and protocol share a word of the header checksum (RFC 791).
        let was = u16::from_ne_bytes([ttl, protocol]);
        let is = u16::from_ne_bytes([new.ttl, protocol]);
        let delta = u32::from(new.delta) + checksum::delta16(was, is);
        let [a, b] = checksum::apply(u16::from_ne_bytes([a, b]), delta).to_ne_bytes();
        packet.set_words(
            at,
            [
                u32::from_ne_bytes([new.ttl, protocol, a, b]),
                u32::from_ne_bytes(new.source.octets),
                u32::from_ne_bytes(new.destination.octets),
            ],
        )
    }

    #[inline(always)]
    fn identification<P: Packet>(packet: &P, _: usize) -> Option<u32> {
        let [word] = packet.words(L3 + IDENTIFICATION_V4)?;
        let [high, low, ..] = word.to_ne_bytes();
        Some(u32::from(u16::from_be_bytes([high, low])))
    }

    #[inline(always)]
    fn renumber<P: Packet>(packet: &mut P, _: usize, identification: u32) -> Option<()> {
        let at = L3 + IDENTIFICATION_V4;
        let [fragment, ttl] = packet.words(at)?;
        let [high, low, c, d] = fragment.to_ne_bytes();
        let [ttl, protocol, e, f] = ttl.to_ne_bytes();
        let [a, b] = (identification as u16).to_be_bytes();
        let delta = checksum::delta16(u16::from_ne_bytes([high, low]), u16::from_ne_bytes([a, b]));
        let [e, f] = checksum::apply(u16::from_ne_bytes([e, f]), delta).to_ne_bytes();
        let words = [[a, b, c, d], [ttl, protocol, e, f]];
        packet.set_words(at, words.map(u32::from_ne_bytes))
    }

    #[inline(always)]
    fn write<P: Packet>(packet: &mut P, new: &Fresh<'_, Self>) -> Option<()> {
        let ip: &mut Ipv4Hdr = packet.view_mut(L3)?;
        let length = new.payload + Self::LENGTH as u16;
        ip.vihl = PLAIN_V4;
        ip.tos = 0;
        ip.tot_len = length.to_be_bytes();
        ip.id = [0, 0];
        ip.frags = DONT_FRAGMENT;
        ip.ttl = TTL;
        ip.proto = new.protocol;
        ip.src_addr = new.source.octets;
        ip.dst_addr = new.destination.octets;
        let sum = u32::from(u16::from_ne_bytes([PLAIN_V4, 0]))
            + u32::from(length.to_be())
            + u32::from(u16::from_ne_bytes(DONT_FRAGMENT))
            + u32::from(u16::from_ne_bytes([TTL, new.protocol]))
            + new.source.sum()
            + new.destination.sum();
        ip.check = (!checksum::fold(sum)).to_ne_bytes();
        Some(())
    }
}

/// Where the addresses stand in an IPv6 header.
const ADDRESSES_V6: usize = 8;

impl IpHeader for Ipv6 {
    const LENGTH: usize = Ipv6Hdr::LEN;
    const ICMP: u8 = 58;

    #[inline(always)]
    fn read<P: Packet>(
        packet: &P,
        offset: usize,
        source: &mut Self,
        destination: &mut Self,
    ) -> Option<Facts> {
        *source = Self::from_words(packet.words(offset + ADDRESSES_V6)?);
        *destination = Self::from_words(packet.words(offset + ADDRESSES_V6 + 16)?);
        let ip: &Ipv6Hdr = packet.view(offset)?;
        Some(Facts {
            ttl: ip.hop_limit,
            protocol: ip.next_hdr,
            length: u32::from(u16::from_be_bytes(ip.payload_len)) + Self::LENGTH as u32,
            is_plain: ip.vcf[0] >> 4 == 6,
        })
    }

    #[inline(always)]
    fn rewrite<P: Packet>(packet: &mut P, offset: usize, new: &Rewrite<'_, Self>) -> Option<()> {
        packet.set_words(offset + ADDRESSES_V6, new.source.words())?;
        packet.set_words(offset + ADDRESSES_V6 + 16, new.destination.words())?;
        let ip: &mut Ipv6Hdr = packet.view_mut(offset)?;
        ip.hop_limit = new.ttl;
        Some(())
    }

    #[inline(always)]
    fn identification<P: Packet>(packet: &P, offset: usize) -> Option<u32> {
        let [word] = packet.words(offset + IDENTIFICATION_V6)?;
        Some(u32::from_be(word))
    }

    #[inline(always)]
    fn renumber<P: Packet>(packet: &mut P, offset: usize, identification: u32) -> Option<()> {
        packet.set_words(offset + IDENTIFICATION_V6, [identification.to_be()])
    }

    #[inline(always)]
    fn write<P: Packet>(packet: &mut P, new: &Fresh<'_, Self>) -> Option<()> {
        let rewrite = Rewrite {
            source: new.source,
            destination: new.destination,
            ttl: TTL,
            delta: 0,
        };
        Self::rewrite(packet, L3, &rewrite)?;
        let ip: &mut Ipv6Hdr = packet.view_mut(L3)?;
        ip.vcf = [0x60, 0, 0, 0];
        ip.payload_len = new.payload.to_be_bytes();
        ip.next_hdr = new.protocol;
        Some(())
    }
}

/// The sum of a pseudo header, which is the same in both families (RFC 9293, RFC 8200).
#[inline(always)]
pub fn pseudo_header<A: Family>(source: &A, destination: &A, protocol: u8, length: u16) -> u32 {
    source.sum()
        + destination.sum()
        + u32::from(u16::from(protocol).to_be())
        + u32::from(length.to_be())
}
