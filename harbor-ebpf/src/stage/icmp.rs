//! ICMP errors about packets that we have translated (RFC 5508, section 4).
//!
//! An error quotes the packet that it is about, as we sent it: its source is the node. Whoever sent
//! that packet to the node must see the error about the packet as *it* was sent, so the addresses
//! and ports outside and inside are those of the flow's other side. The MTU in it stays.

use harbor_common::{
    addr::Ipv4,
    checksum,
    flow::{Flow, FlowKey},
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};
use network_types::{ip::Ipv4Hdr, udp::UdpHdr};

use crate::packet::{Icmp, L3, L4, Packet, Ports};

/// Where the quoted packet starts.
const INNER_L3: usize = L4 + size_of::<Icmp>();
/// Where its ports are; quoted packets with IP options are not ours, for we send none.
const INNER_L4: usize = INNER_L3 + Ipv4Hdr::LEN;
/// The least that an error quotes: the header and eight octets (RFC 792).
const QUOTED: usize = INNER_L4 + size_of::<Ports>();
/// IPv4 without options.
const PLAIN: u8 = 0x45;

/// Destination unreachable; code 4 is "fragmentation needed".
const UNREACHABLE: u8 = 3;
/// Time exceeded.
const EXPIRED: u8 = 11;
/// Parameter problem.
const PROBLEM: u8 = 12;

/// What an error says about a packet of ours.
pub struct Quoted {
    /// The five-tuple of an answer to the quoted packet: the key of the flow's entry in the
    /// direction that the error travels.
    pub key: FlowKey,
    /// The protocol of the quoted packet.
    pub protocol: Protocol,
}

/// Reads an error, or says that the message is none of our business.
#[inline(always)]
pub fn read<P: Packet>(packet: &mut P) -> Result<Quoted, Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::Icmp);
    packet.pull(QUOTED);
    let outer: &Ipv4Hdr = packet.view(L3).ok_or(OTHER)?;
    let icmp: &Icmp = packet.view(L4).ok_or(OTHER)?;
    let inner: &Ipv4Hdr = packet.view(INNER_L3).ok_or(OTHER)?;
    let ports: &Ports = packet.view(INNER_L4).ok_or(OTHER)?;
    let is_error = icmp.kind == UNREACHABLE || icmp.kind == EXPIRED || icmp.kind == PROBLEM;
    let is_plain = outer.vihl == PLAIN && inner.vihl == PLAIN;
    // An error goes to whoever sent the packet that it quotes; anything else is forged.
    if !is_error || !is_plain || outer.dst_addr != inner.src_addr {
        return Err(OTHER);
    }
    let protocol = Protocol::from_number(u32::from(inner.proto)).ok_or(OTHER)?;
    if outer.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    let key = FlowKey {
        source: Ipv4::new(inner.dst_addr),
        destination: Ipv4::new(inner.src_addr),
        source_port: u16::from_be_bytes(ports.destination),
        destination_port: u16::from_be_bytes(ports.source),
        protocol: protocol.number(),
    };
    Ok(Quoted { key, protocol })
}

/// Rewrites the error for the other side of the flow.
#[inline(always)]
pub fn translate<P: Packet>(packet: &mut P, quoted: &Quoted, flow: &Flow) -> Result<(), Verdict> {
    const REFUSED: Verdict = Verdict::Drop(DropReason::Rewrite);
    // The quoted packet went the other way, so its source is the error's destination.
    let addresses = checksum::delta_address(quoted.key.destination, flow.destination)
        + checksum::delta_address(quoted.key.source, flow.source);
    let ports = checksum::delta_port(quoted.key.destination_port, flow.destination_port)
        + checksum::delta_port(quoted.key.source_port, flow.source_port);

    let inner: &mut Ipv4Hdr = packet.view_mut(INNER_L3).ok_or(REFUSED)?;
    inner.check = checksum::apply(u16::from_ne_bytes(inner.check), addresses).to_ne_bytes();
    inner.src_addr = flow.destination.octets;
    inner.dst_addr = flow.source.octets;

    let inner: &mut Ports = packet.view_mut(INNER_L4).ok_or(REFUSED)?;
    inner.source = flow.destination_port.to_be_bytes();
    inner.destination = flow.source_port.to_be_bytes();
    let mut message = ports;
    if matches!(quoted.protocol, Protocol::Udp) {
        message += fix_quoted_checksum(packet, addresses + ports).ok_or(REFUSED)?;
    }

    // Addresses and their header checksum cancel each other out; the ports do not.
    let icmp: &mut Icmp = packet.view_mut(L4).ok_or(REFUSED)?;
    icmp.check = checksum::apply(u16::from_ne_bytes(icmp.check), message).to_ne_bytes();

    let outer: &mut Ipv4Hdr = packet.view_mut(L3).ok_or(REFUSED)?;
    let ttl = outer.ttl - 1;
    let delta = checksum::delta_address(Ipv4::new(outer.src_addr), flow.source)
        + checksum::delta_address(Ipv4::new(outer.dst_addr), flow.destination)
        + checksum::delta16(
            u16::from_ne_bytes([outer.ttl, outer.proto]),
            u16::from_ne_bytes([ttl, outer.proto]),
        );
    outer.check = checksum::apply(u16::from_ne_bytes(outer.check), delta).to_ne_bytes();
    outer.ttl = ttl;
    outer.src_addr = flow.source.octets;
    outer.dst_addr = flow.destination.octets;
    Ok(())
}

/// Brings the quoted datagram's checksum up to date; answers with what that adds to the message.
#[inline(always)]
fn fix_quoted_checksum<P: Packet>(packet: &mut P, delta: u32) -> Option<u32> {
    let field: &mut [u8; 2] = packet.view_mut(INNER_L4 + core::mem::offset_of!(UdpHdr, check))?;
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

    fn flow() -> Flow {
        Flow {
            source: Ipv4::new([203, 0, 113, 1]),
            destination: Ipv4::new([192, 0, 2, 77]),
            source_port: 35000,
            destination_port: 51234,
            ..Flow::default()
        }
    }

    #[test]
    fn an_error_names_the_flow_that_it_is_about() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let quoted = read(&mut Frame::new(&error(protocol.number() as u8)))
                .ok()
                .unwrap();
            assert_eq!(quoted.key.source, Ipv4::new([198, 51, 100, 1]));
            assert_eq!(quoted.key.destination, Ipv4::new([192, 0, 2, 1]));
            assert_eq!(
                (quoted.key.source_port, quoted.key.destination_port),
                (35000, 40000)
            );
        }
    }

    #[test]
    fn the_other_side_sees_the_packet_that_it_sent_and_every_sum_is_right() {
        for protocol in [6, 17] {
            let mut frame = Frame::new(&error(protocol));
            assert!(is_error_sound(&frame.octets));
            let quoted = read(&mut frame).ok().unwrap();
            translate(&mut frame, &quoted, &flow()).unwrap();
            let octets = &frame.octets;
            assert!(is_error_sound(octets));
            assert_eq!(octets[26..34], [203, 0, 113, 1, 192, 0, 2, 77]);
            assert_eq!(octets[54..62], [192, 0, 2, 77, 203, 0, 113, 1]);
            assert_eq!(octets[62..66], [0xc8, 0x22, 0x88, 0xb8]);
            assert_eq!(octets[40..42], [0x05, 0x00], "the MTU stays");
        }
    }

    #[test]
    fn echoes_forgeries_and_truncations_are_left_alone() {
        let mut echo = error(6);
        echo[34] = 8;
        let mut forged = error(6);
        forged[33] = 99;
        for octets in [echo, forged] {
            assert!(matches!(
                read(&mut Frame::new(&octets)),
                Err(Verdict::Pass(PassReason::Icmp))
            ));
        }
        let whole = error(17);
        for length in 0..QUOTED {
            assert!(
                read(&mut Frame::new(&whole[..length])).is_err(),
                "{length} octets"
            );
        }
    }
}
