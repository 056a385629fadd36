//! ICMP errors about packets that we have translated (RFC 5508, section 4; for IPv6 alike).
//!
//! An error quotes the packet that it is about, as we sent it: its source is the node. Whoever sent
//! that packet to the node must see the error about the packet as *it* was sent, so the addresses
//! and ports outside and inside are those of the flow's other side. The MTU in it stays.

use harbor_common::{
    addr::{Ipv4, Ipv6},
    checksum,
    flow::{Flow, FlowKey},
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};
use network_types::udp::UdpHdr;

use crate::{
    code::Code,
    ip::{IpHeader, Rewrite},
    packet::{Icmp, L3, Packet, Ports},
    way::Way,
};

/// What an error says about a packet of ours.
#[derive(Clone, Copy, Default)]
pub struct Quoted<A> {
    /// The five-tuple of an answer to the quoted packet: the key of the flow's entry in the
    /// direction that the error travels.
    pub key: FlowKey<A>,
    /// The protocol of the quoted packet.
    pub protocol: Protocol,
    /// TCP: the sequence number of the quoted segment.
    pub sequence: u32,
    /// UDP: length and checksum of the quoted datagram, as they stand there.
    pub datagram_length: u16,
    /// See `datagram_length`.
    pub datagram_check: u16,
    /// Whether the receiver of the quoted packet cannot be reached at all.
    pub is_unreachable: bool,
    /// Whether only the receiver of the quoted packet can know what the error says.
    pub is_from_receiver: bool,
    /// Whether it says that the quoted packet was too large.
    is_too_big: bool,
    /// Length of the IP packet that holds the error.
    pub length: u32,
    outer_source: A,
    outer_destination: A,
    outer_ttl: u8,
    inner_ttl: u8,
}

impl<A: PartialEq> Quoted<A> {
    /// Whether the receiver of the quoted packet has sent the error.
    #[inline(always)]
    pub fn is_sent_by_receiver(&self) -> bool {
        self.outer_source == self.key.source
    }
}

/// What differs between the families' errors.
pub trait Errors: IpHeader {
    /// Whether messages of this kind quote a packet.
    fn is_error(kind: u8) -> bool;
    /// Whether it says that the receiver cannot be reached, and not that a packet was too large.
    fn is_unreachable(kind: u8, code: u8) -> bool;
    /// Whether it says what the receiver alone can know: that its protocol or port is closed.
    fn is_from_receiver(kind: u8, code: u8) -> bool;
    /// Whether it says that a packet was too large.
    fn is_too_big(kind: u8, code: u8) -> bool;
    /// What a change of addresses outside and inside does to the message's checksum.
    fn message_delta(outer: u32, inner: u32) -> u32;
}

impl Errors for Ipv4 {
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, time exceeded, parameter problem (RFC 792).
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn is_unreachable(kind: u8, code: u8) -> bool {
        // Code 4 is "fragmentation needed".
        kind == 3 && code != 4
    }

    #[inline(always)]
    fn is_from_receiver(kind: u8, code: u8) -> bool {
        // Protocol and port.
        kind == 3 && (code == 2 || code == 3)
    }

    #[inline(always)]
    fn is_too_big(kind: u8, code: u8) -> bool {
        kind == 3 && code == 4
    }

    #[inline(always)]
    fn message_delta(_outer: u32, _inner: u32) -> u32 {
        // The inner header's own checksum outweighs its addresses, and there is no pseudo header.
        0
    }
}

impl Errors for Ipv6 {
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn is_unreachable(kind: u8, _code: u8) -> bool {
        kind == 1
    }

    #[inline(always)]
    fn is_from_receiver(kind: u8, code: u8) -> bool {
        kind == 1 && code == 4
    }

    #[inline(always)]
    fn is_too_big(kind: u8, _code: u8) -> bool {
        kind == 2
    }

    #[inline(always)]
    fn message_delta(outer: u32, inner: u32) -> u32 {
        outer + inner
    }
}

/// Where the ICMP message, the packet that it quotes and that packet's ports start.
struct Offsets {
    icmp: usize,
    inner: usize,
    ports: usize,
}

#[inline(always)]
const fn offsets<A: IpHeader>() -> Offsets {
    let icmp = L3 + A::LENGTH;
    let inner = icmp + size_of::<Icmp>();
    Offsets {
        icmp,
        inner,
        ports: inner + A::LENGTH,
    }
}

/// Reads an error, or says that the message is none of our business.
#[inline(always)]
pub fn read<A: Errors, P: Packet>(packet: &mut P, quoted: &mut Quoted<A>) -> Result<(), Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::Icmp);
    let at = offsets::<A>();
    packet.pull(at.ports + size_of::<Ports>());
    let Quoted {
        key,
        outer_source,
        outer_destination,
        ..
    } = quoted;
    let outer = A::read(packet, L3, outer_source, outer_destination).ok_or(OTHER)?;
    let icmp: &Icmp = packet.view(at.icmp).ok_or(OTHER)?;
    // The answer to the quoted packet goes the other way.
    let (answerer, sender) = (&mut key.source, &mut key.destination);
    let inner = A::read(packet, at.inner, sender, answerer).ok_or(OTHER)?;
    let ports: &Ports = packet.view(at.ports).ok_or(OTHER)?;
    let available = packet.length().saturating_sub(L3) as u32;
    let needed = (at.ports + size_of::<Ports>() - L3) as u32;
    // An error goes to whoever sent the packet that it quotes; anything else is forged.
    if !(needed..=available).contains(&outer.length)
        || !A::is_error(icmp.kind)
        || !outer.is_plain
        || !inner.is_plain
        || *outer_destination != key.destination
    {
        return Err(OTHER);
    }
    quoted.protocol = Protocol::from_number(u32::from(inner.protocol)).ok_or(OTHER)?;
    quoted.key.source_port = u16::from_be_bytes(ports.destination);
    quoted.key.destination_port = u16::from_be_bytes(ports.source);
    quoted.key.protocol = quoted.protocol.number();
    let [a, b, c, d] = ports.rest;
    quoted.sequence = u32::from_be_bytes([a, b, c, d]);
    quoted.datagram_length = u16::from_ne_bytes([a, b]);
    quoted.datagram_check = u16::from_ne_bytes([c, d]);
    quoted.is_unreachable = A::is_unreachable(icmp.kind, icmp.code);
    quoted.is_from_receiver = A::is_from_receiver(icmp.kind, icmp.code);
    quoted.is_too_big = A::is_too_big(icmp.kind, icmp.code);
    quoted.length = outer.length;
    quoted.outer_ttl = outer.ttl;
    quoted.inner_ttl = inner.ttl;
    Ok(())
}

/// Rewrites the error for the other side of the flow. A backend is told of no size below `least`:
/// to it, all clients are on one path.
#[inline(never)]
pub fn translate<A: Errors, P: Packet>(
    packet: &mut P,
    quoted: &Quoted<A>,
    way: &Way<A>,
    least: u32,
) -> Code {
    Code::of_result(try_translate(packet, quoted, way, least))
}

#[inline(always)]
fn try_translate<A: Errors, P: Packet>(
    packet: &mut P,
    quoted: &Quoted<A>,
    way: &Way<A>,
    least: u32,
) -> Result<(), Verdict> {
    const REFUSED: Verdict = Verdict::Drop(DropReason::Rewrite);
    if quoted.outer_ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    let at = offsets::<A>();
    let both = deltas(quoted, way);
    let (inner, outer) = (both >> 32, both & 0xffff_ffff);
    let (inner, outer) = (inner as u32, outer as u32);
    let ports = checksum::delta_port(quoted.key.destination_port, way.destination_port)
        + checksum::delta_port(quoted.key.source_port, way.source_port);

    let new = Rewrite {
        source: &way.destination,
        destination: &way.source,
        ttl: quoted.inner_ttl,
        delta: checksum::fold(inner),
    };
    A::rewrite(packet, at.inner, &new).ok_or(REFUSED)?;
    let header: &mut Ports = packet.view_mut(at.ports).ok_or(REFUSED)?;
    header.source = way.destination_port.to_be_bytes();
    header.destination = way.source_port.to_be_bytes();
    let mut message = ports + A::message_delta(outer, inner);
    if matches!(quoted.protocol, Protocol::Udp) {
        message += fix_quoted_checksum(packet, at.ports, inner + ports).ok_or(REFUSED)?;
    }
    let icmp: &mut Icmp = packet.view_mut(at.icmp).ok_or(REFUSED)?;
    if quoted.is_too_big && way.direction == Flow::<A>::FORWARD {
        // In either family the size ends in the lower half; IPv6's has 32 bits.
        let [a, b, c, d] = icmp.rest;
        let size = u16::from_be_bytes([c, d]);
        // Old routers tell no size, and the backend would guess one (RFC 1191): too small for all clients.
        if u32::from(size) < least && a == 0 && b == 0 {
            let [c, d] = (least as u16).to_be_bytes();
            message += checksum::delta16(size.to_be(), (least as u16).to_be());
            icmp.rest = [a, b, c, d];
        }
    }
    icmp.check = checksum::apply(u16::from_ne_bytes(icmp.check), message).to_ne_bytes();

    let new = Rewrite {
        source: &way.source,
        destination: &way.destination,
        ttl: quoted.outer_ttl - 1,
        delta: checksum::fold(outer),
    };
    A::rewrite(packet, L3, &new).ok_or(REFUSED)
}

/// What the changes of addresses inside and outside add up to, the former shifted by a word. A
/// function of its own, or LLVM keeps all addresses on the stack until they are rewritten.
#[inline(never)]
fn deltas<A: Errors>(quoted: &Quoted<A>, way: &Way<A>) -> u64 {
    // The quoted packet went the other way, so its source is the error's destination.
    let inner = checksum::delta_address(&quoted.key.destination, &way.destination)
        + checksum::delta_address(&quoted.key.source, &way.source);
    let outer = checksum::delta_address(&quoted.outer_source, &way.source)
        + checksum::delta_address(&quoted.outer_destination, &way.destination);
    u64::from(inner) << 32 | u64::from(outer)
}

/// Updates the quoted datagram's checksum; answers with what that adds to the message's.
#[inline(always)]
fn fix_quoted_checksum<P: Packet>(packet: &mut P, ports: usize, delta: u32) -> Option<u32> {
    let field: &mut [u8; 2] = packet.view_mut(ports + core::mem::offset_of!(UdpHdr, check))?;
    let old = u16::from_ne_bytes(*field);
    if old == 0 {
        return Some(0);
    }
    let new = checksum::apply(old, delta);
    *field = new.to_ne_bytes();
    Some(checksum::delta16(old, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Frame, error, is_error_sound};

    fn way() -> Way<Ipv4> {
        Way {
            source: Ipv4::new([203, 0, 113, 1]),
            destination: Ipv4::new([192, 0, 2, 77]),
            source_port: 35000,
            destination_port: 51234,
            ..Way::default()
        }
    }

    fn quoted(frame: &mut Frame) -> Result<Quoted<Ipv4>, Verdict> {
        let mut quoted = Quoted::default();
        read(frame, &mut quoted).map(|()| quoted)
    }

    #[test]
    fn an_error_names_the_flow_that_it_is_about() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let octets = error(protocol.number() as u8);
            let quoted = quoted(&mut Frame::new(&octets)).unwrap();
            assert_eq!(quoted.key.source, Ipv4::new([198, 51, 100, 1]));
            assert_eq!(quoted.key.destination, Ipv4::new([192, 0, 2, 1]));
            assert_eq!(
                (quoted.key.source_port, quoted.key.destination_port),
                (35000, 40000)
            );
            assert!(!quoted.is_unreachable, "too large is not unreachable");
        }
    }

    #[test]
    fn the_other_side_sees_the_packet_that_it_sent_and_every_sum_is_right() {
        for protocol in [6, 17] {
            let mut frame = Frame::new(&error(protocol));
            assert!(is_error_sound(&frame.octets));
            let quoted = quoted(&mut frame).unwrap();
            translate(&mut frame, &quoted, &way(), 1280)
                .result()
                .unwrap();
            let octets = &frame.octets;
            assert!(is_error_sound(octets));
            assert_eq!(octets[26..34], [203, 0, 113, 1, 192, 0, 2, 77]);
            assert_eq!(octets[54..62], [192, 0, 2, 77, 203, 0, 113, 1]);
            assert_eq!(octets[62..66], [0xc8, 0x22, 0x88, 0xb8]);
            assert_eq!(octets[40..42], [0x05, 0x00], "the MTU stays");
        }
    }

    #[test]
    fn a_backend_is_told_of_no_size_below_the_least() {
        for (direction, told) in [(Flow::<Ipv4>::FORWARD, 1400), (Flow::<Ipv4>::REPLY, 1280)] {
            let mut frame = Frame::new(&error(6));
            let quoted = quoted(&mut frame).unwrap();
            let way = Way { direction, ..way() };
            translate(&mut frame, &quoted, &way, 1400).result().unwrap();
            assert!(is_error_sound(&frame.octets));
            assert_eq!(frame.octets[40..42], u16::to_be_bytes(told));
        }
    }

    #[test]
    fn echoes_forgeries_and_truncations_are_left_alone() {
        let mut echo = error(6);
        echo[34] = 8;
        let mut forged = error(6);
        forged[33] = 99;
        for octets in [echo, forged] {
            let passed = Some(Verdict::Pass(PassReason::Icmp));
            assert_eq!(quoted(&mut Frame::new(&octets)).err(), passed);
        }
        let whole = error(17);
        for length in 0..offsets::<Ipv4>().ports + size_of::<Ports>() {
            let cut = quoted(&mut Frame::new(&whole[..length]));
            assert!(cut.is_err(), "{length} octets");
        }
        let mut short = whole;
        short[17] = 55;
        let padded = quoted(&mut Frame::new(&short));
        assert!(padded.is_err(), "what lies behind the packet is padding");
    }
}
