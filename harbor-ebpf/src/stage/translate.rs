//! Writes the finished translation of a flow into the packet.
//!
//! Runs only after the route is known: from the first changed octet on the packet is forwarded or
//! dropped, never passed.

use harbor_common::{
    checksum,
    flow::Flow,
    protocol::Protocol,
    verdict::{DropReason, Verdict},
};
use network_types::{ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use super::parse::Parsed;
use crate::packet::{ChecksumChange, L3, Packet, Ports};

/// Rewrites addresses, ports, time to live and checksums.
#[inline(always)]
pub fn translate<P: Packet>(packet: &mut P, parsed: &Parsed, flow: &Flow) -> Result<(), Verdict> {
    const REFUSED: Verdict = Verdict::Drop(DropReason::Rewrite);

    // The helper may move the frame, so it comes first and the views are taken after it.
    let checksum = match parsed.protocol {
        Protocol::Tcp => core::mem::offset_of!(TcpHdr, check),
        Protocol::Udp => core::mem::offset_of!(UdpHdr, check),
    };
    packet
        .fix_transport_checksum(ChecksumChange {
            offset: parsed.l4 + checksum,
            pseudo_header: flow.address_delta,
            header: flow.port_delta,
            is_udp: matches!(parsed.protocol, Protocol::Udp),
        })
        .map_err(|_| REFUSED)?;

    let ip: &mut Ipv4Hdr = packet.view_mut(L3).ok_or(REFUSED)?;
    // Time to live and protocol share a word of the header checksum (RFC 791).
    let ttl = (parsed.ttl - 1) as u8;
    let old = u16::from_ne_bytes([ip.ttl, ip.proto]);
    let new = u16::from_ne_bytes([ttl, ip.proto]);
    let delta = flow.address_delta + checksum::delta16(old, new);
    ip.check = checksum::apply(u16::from_ne_bytes(ip.check), delta).to_ne_bytes();
    ip.ttl = ttl;
    ip.src_addr = flow.source.octets;
    ip.dst_addr = flow.destination.octets;

    let ports: &mut Ports = packet.view_mut(parsed.l4).ok_or(REFUSED)?;
    ports.source = flow.source_port.to_be_bytes();
    ports.destination = flow.destination_port.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use harbor_common::addr::Ipv4;

    use super::*;
    use crate::{
        stage::parse::parse,
        testing::{Frame, is_sound, tcp, udp},
    };

    fn translated(octets: &[u8]) -> Vec<u8> {
        let mut frame = Frame::new(octets);
        let parsed = parse(&mut frame).unwrap();
        let (source, destination) = (Ipv4::new([10, 9, 8, 7]), Ipv4::new([172, 16, 255, 254]));
        let (source_port, destination_port) = (10240, 65535);
        let flow = Flow {
            source,
            destination,
            source_port,
            destination_port,
            address_delta: checksum::delta_address(parsed.key.source, source)
                + checksum::delta_address(parsed.key.destination, destination),
            port_delta: checksum::delta_port(parsed.key.source_port, source_port)
                + checksum::delta_port(parsed.key.destination_port, destination_port),
            ..Flow::default()
        };
        translate(&mut frame, &parsed, &flow).unwrap();
        frame.octets
    }

    #[test]
    fn addresses_ports_time_to_live_and_sums_change_and_nothing_else() {
        for before in [tcp(), udp()] {
            let after = translated(&before);
            assert!(is_sound(&before) && is_sound(&after));
            assert_eq!(after[22], before[22] - 1);
            assert_eq!(
                after[26..38],
                [10, 9, 8, 7, 172, 16, 255, 254, 0x28, 0, 0xff, 0xff]
            );
            let sums = if before[23] == 6 { 50..52 } else { 40..42 };
            for (offset, (old, new)) in before.iter().zip(&after).enumerate() {
                let may_change = (22..23).contains(&offset)
                    || (24..38).contains(&offset)
                    || sums.contains(&offset);
                assert!(may_change || old == new, "octet {offset} changed");
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_keeps_none() {
        let mut frame = udp();
        frame[40..42].fill(0);
        assert_eq!(translated(&frame)[40..42], [0, 0]);
    }
}
