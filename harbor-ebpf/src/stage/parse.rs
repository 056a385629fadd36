//! Frame to [`Parsed`]. Whatever is odd is left to the stack: nothing is known to be ours yet.

use harbor_common::{
    addr::{Ipv4, Ipv6},
    flow::{FlowKey, Marks},
    protocol::Protocol,
    verdict::{PassReason, Verdict},
};
use network_types::{ip::Ipv6Hdr, tcp::TcpHdr, udp::UdpHdr};

use crate::{
    ip::IpHeader,
    packet::{Ethernet, Extension, L3, Packet},
    parsed::{Kind, Oddity, Parsed, Tcp, Version},
};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const IPV4_VERSION: u8 = 4;
/// "More fragments" in the word of flags and fragment offset (RFC 791, section 3.1).
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// The same in the fragment header of IPv6 (RFC 8200, section 4.5).
const MORE_FRAGMENTS_V6: u16 = 0x0001;
const FRAGMENT_OFFSET_V6: u16 = 0xfff8;

/// Extension headers that are skipped (IANA protocol numbers).
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
const FRAGMENT: u8 = 44;
/// Routing header: a packet that carries one is not ours.
const ROUTING: u8 = 43;
/// How many extension headers are skipped, and how many octets of them.
const EXTENSIONS: usize = 4;
const EXTENSION_OCTETS: usize = 256;

const TRUNCATED: Verdict = Verdict::Pass(PassReason::Truncated);
const MALFORMED: Verdict = Verdict::Pass(PassReason::Malformed);

/// Reads the frame's Ethernet header.
#[inline(always)]
pub fn link<P: Packet>(packet: &mut P) -> Result<Version, Verdict> {
    if !packet.is_for_this_host() {
        return Err(Verdict::Pass(PassReason::OtherHost));
    }
    if packet.has_vlan() {
        return Err(Verdict::Pass(PassReason::NotIp));
    }
    packet.pull(L3 + Ipv6::LENGTH + TcpHdr::LEN);
    let header: &Ethernet = packet.view(0).ok_or(TRUNCATED)?;
    match header.ether_type {
        ETHERTYPE_IPV4 => Ok(Version::V4),
        ETHERTYPE_IPV6 => Ok(Version::V6),
        _ => Err(Verdict::Pass(PassReason::NotIp)),
    }
}

/// Reading a family's header.
pub trait Parse: IpHeader {
    /// Reads the frame's other headers, or says why they are none of Harbor's business.
    fn parse<P: Packet>(packet: &mut P, parsed: &mut Parsed<Self>) -> Result<Kind, Verdict>;
}

const OTHER_PROTOCOL: Verdict = Verdict::Pass(PassReason::OtherProtocol);

impl Parse for Ipv4 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, parsed: &mut Parsed<Self>) -> Result<Kind, Verdict> {
        let [version, fragment, ttl, source, destination] = packet.words(L3).ok_or(TRUNCATED)?;
        let [vihl, _, length_high, length_low] = version.to_ne_bytes();
        let [id_high, id_low, high, low] = fragment.to_ne_bytes();
        let [ttl, protocol, ..] = ttl.to_ne_bytes();
        let header = usize::from(vihl & 0x0f) * 4;
        if vihl >> 4 != IPV4_VERSION || header < Self::LENGTH {
            return Err(MALFORMED);
        }
        let is_icmp = protocol == Self::ICMP;
        if !is_icmp {
            parsed.protocol = Protocol::from_number(u32::from(protocol)).ok_or(OTHER_PROTOCOL)?;
        }
        let stated = u16::from_be_bytes([length_high, length_low]);
        parsed.length = packet_length(packet, stated, 0).ok_or(MALFORMED)?;
        if (parsed.length as usize) < header {
            return Err(MALFORMED);
        }
        if is_icmp {
            return Ok(Kind::Icmp);
        }
        parsed.key.source = Self::new(source.to_ne_bytes());
        parsed.key.destination = Self::new(destination.to_ne_bytes());
        parsed.key.protocol = parsed.protocol.number();
        parsed.identification = u32::from(u16::from_be_bytes([id_high, id_low]));
        parsed.ttl = u32::from(ttl);
        parsed.transport = L3 + header;
        let fragment = u16::from_be_bytes([high, low]);
        if fragment & FRAGMENT_OFFSET != 0 {
            return Ok(Kind::Fragment);
        }
        parsed.oddity = oddity(fragment & MORE_FRAGMENTS != 0, header != Self::LENGTH);
        transport(packet, parsed)
    }
}

impl Parse for Ipv6 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, parsed: &mut Parsed<Self>) -> Result<Kind, Verdict> {
        let FlowKey {
            source,
            destination,
            ..
        } = &mut parsed.key;
        let facts = Self::read(packet, L3, source, destination).ok_or(TRUNCATED)?;
        let ip: &Ipv6Hdr = packet.view(L3).ok_or(TRUNCATED)?;
        if !facts.is_plain {
            return Err(MALFORMED);
        }
        let stated = u16::from_be_bytes(ip.payload_len);
        parsed.length = packet_length(packet, stated, Self::LENGTH).ok_or(MALFORMED)?;
        if facts.protocol == Self::ICMP {
            return Ok(Kind::Icmp);
        }
        parsed.ttl = u32::from(facts.ttl);
        parsed.transport = L3 + Self::LENGTH;
        parsed.oddity = Oddity::None;
        let mut next = facts.protocol;
        let mut kind = Kind::Whole;
        if !is_transport(next) {
            kind = walk(packet, parsed, &mut next)?;
        }
        parsed.protocol = Protocol::from_number(u32::from(next)).ok_or(OTHER_PROTOCOL)?;
        parsed.key.protocol = parsed.protocol.number();
        match kind {
            Kind::Whole => transport(packet, parsed),
            other => Ok(other),
        }
    }
}

/// What sets a first fragment or a whole packet apart, with options or without.
#[inline(always)]
const fn oddity(is_first: bool, has_options: bool) -> Oddity {
    match (is_first, has_options) {
        (false, false) => Oddity::None,
        (false, true) => Oddity::Options,
        (true, false) => Oddity::FirstFragment,
        (true, true) => Oddity::OddFragment,
    }
}

#[inline(always)]
const fn is_transport(next: u8) -> bool {
    next as u32 == Protocol::Tcp.number() || next as u32 == Protocol::Udp.number()
}

/// Skips extension headers, a few of the known kinds; `next` becomes what follows them.
#[inline(always)]
fn walk<P: Packet>(
    packet: &mut P,
    parsed: &mut Parsed<Ipv6>,
    next: &mut u8,
) -> Result<Kind, Verdict> {
    packet.pull(L3 + Ipv6::LENGTH + EXTENSION_OCTETS + TcpHdr::LEN);
    // A fragment header of a packet in one piece is an oddity like any other.
    let (mut is_first, mut has_options) = (false, true);
    for index in 0..EXTENSIONS {
        if is_transport(*next) {
            break;
        }
        let extension: &Extension = packet.view(parsed.l4()).ok_or(TRUNCATED)?;
        let octets = match *next {
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                has_options = true;
                (usize::from(extension.length) + 1) * 8
            }
            FRAGMENT => {
                // What follows the packet in its frame is none of its headers.
                if parsed.transport + size_of::<Extension>() > L3 + parsed.length as usize {
                    return Err(MALFORMED);
                }
                parsed.identification = u32::from_be_bytes(extension.identification);
                let word = u16::from_be_bytes(extension.fragment);
                if word & FRAGMENT_OFFSET_V6 != 0 {
                    *next = extension.next_header;
                    return Ok(Kind::Fragment);
                }
                if word & MORE_FRAGMENTS_V6 != 0 {
                    is_first = true;
                    has_options = index != 0;
                }
                size_of::<Extension>()
            }
            ROUTING => return Err(Verdict::Pass(PassReason::Options)),
            _ => return Err(OTHER_PROTOCOL),
        };
        *next = extension.next_header;
        parsed.transport += octets;
        if parsed.transport > L3 + Ipv6::LENGTH + EXTENSION_OCTETS {
            return Err(Verdict::Pass(PassReason::Options));
        }
    }
    parsed.oddity = oddity(is_first, has_options);
    Ok(Kind::Whole)
}

/// Reads the transport header that begins at `parsed.l4()`.
#[inline(always)]
fn transport<A: IpHeader, P: Packet>(
    packet: &mut P,
    parsed: &mut Parsed<A>,
) -> Result<Kind, Verdict> {
    let l4 = parsed.l4();
    let room = (parsed.length as usize + L3).saturating_sub(l4);
    let is_tcp = matches!(parsed.protocol, Protocol::Tcp);
    let is_first = matches!(parsed.oddity, Oddity::FirstFragment | Oddity::OddFragment);
    let is_tiny = is_tcp && is_first && room < TcpHdr::LEN;
    if is_tiny {
        parsed.oddity = Oddity::TinyFragment;
    }
    let has_tcp = is_tcp && !is_tiny;
    let wanted = if has_tcp { TcpHdr::LEN } else { UdpHdr::LEN };
    if room < wanted {
        return Err(MALFORMED);
    }
    parsed.tcp = Tcp::default();
    let ports = if has_tcp {
        let [ports, sequence, acknowledgment, rest, _] = packet.words(l4).ok_or(TRUNCATED)?;
        // Data offset and flags (RFC 9293, section 3.1).
        let [offset, flags, ..] = rest.to_ne_bytes();
        parsed.tcp = Tcp {
            flags: u32::from(flags),
            sequence: u32::from_be(sequence),
            acknowledgment: u32::from_be(acknowledgment),
            header: u32::from(offset >> 4) * 4,
        };
        ports
    } else {
        let [ports, rest] = packet.words(l4).ok_or(TRUNCATED)?;
        // Length and checksum (RFC 768), as they stand there.
        let [a, b, c, d] = rest.to_ne_bytes();
        let (length, check) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        parsed.mark = match check {
            _ if packet.segment_size() != 0 => Marks::ANY,
            0 => length,
            check => check,
        };
        ports
    };
    let [a, b, c, d] = ports.to_ne_bytes();
    parsed.key.source_port = u16::from_be_bytes([a, b]);
    parsed.key.destination_port = u16::from_be_bytes([c, d]);
    Ok(Kind::Whole)
}

/// Length of the IP packet: what its header says, if the frame can hold that much. `header` is
/// what the stated length does not count.
///
/// Frames may be longer (Ethernet pads to 60 octets). A segmented super-packet above 64 KiB says 0
/// (BIG TCP, Linux 6.3): then the frame's length counts.
#[inline(always)]
fn packet_length<P: Packet>(packet: &P, stated: u16, header: usize) -> Option<u32> {
    let available = packet.length().saturating_sub(L3);
    if stated == 0 && packet.is_segmented() {
        return Some(available as u32);
    }
    let length = usize::from(stated) + header;
    (length <= available).then_some(length as u32)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
