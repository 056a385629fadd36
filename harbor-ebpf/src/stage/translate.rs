//! Writes the finished translation of a flow into the packet.
//!
//! Runs only after the route is known: from the first changed octet on the packet is forwarded or
//! dropped, never passed.

use harbor_common::{
    checksum,
    protocol::Protocol,
    verdict::{DropReason, Verdict},
};
use network_types::{tcp::TcpHdr, udp::UdpHdr};

use crate::parsed::Parsed;
use crate::{
    ip::{IpHeader, Rewrite, pseudo_header},
    packet::{ChecksumChange, L3, Packet, Ports, SocketBuffer, TransportSum},
    way::Way,
};

/// The packet could not be rewritten.
pub const REFUSED: Verdict = Verdict::Drop(DropReason::Rewrite);

/// Rewrites addresses, ports, time to live and checksums.
#[inline(always)]
pub fn translate<A: IpHeader, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &Way<A>,
) -> Result<(), Verdict> {
    let l4 = parsed.l4();
    // The helper may move the frame, so it comes first and the views are taken after it.
    packet
        .fix_transport_checksum(ChecksumChange {
            offset: l4 + check_offset(parsed.protocol),
            pending: pseudo_sum(parsed, parsed.length as usize + L3 - l4),
            is_v4: A::INDEX == 0,
            pseudo_header: way.address_delta,
            header: way.port_delta,
            is_udp: matches!(parsed.protocol, Protocol::Udp),
        })
        .map_err(|_| REFUSED)?;

    let new = Rewrite {
        source: &way.source,
        destination: &way.destination,
        ttl: (parsed.ttl - 1) as u8,
        delta: way.address_delta,
    };
    A::rewrite(packet, L3, &new).ok_or(REFUSED)?;
    let [a, b] = way.source_port.to_be_bytes();
    let [c, d] = way.destination_port.to_be_bytes();
    let ports = u32::from_ne_bytes([a, b, c, d]);
    packet.set_words(l4, [ports]).ok_or(REFUSED)
}

/// Whether a device may still have to finish the packet's transport checksum: then it is the sum of
/// the pseudo header. One finished checksum in 65,536 looks the same.
#[inline(always)]
pub fn may_be_pending<A: IpHeader, P: Packet>(packet: &P, parsed: &Parsed<A>) -> bool {
    let l4 = parsed.l4();
    match packet.view::<[u8; 2]>(l4 + check_offset(parsed.protocol)) {
        Some(check) => {
            let pending = pseudo_sum(parsed, (parsed.length as usize + L3).saturating_sub(l4));
            u16::from_ne_bytes(*check) == pending
        }
        None => true,
    }
}

/// Whether the packet's transport checksum is right, as far as can be known.
#[inline(always)]
pub fn is_sound<A: IpHeader, P: SocketBuffer>(packet: &mut P, parsed: &Parsed<A>) -> bool {
    let offset = parsed.l4();
    let room = (parsed.length as usize + L3).saturating_sub(offset);
    let is_udp = matches!(parsed.protocol, Protocol::Udp);
    // A datagram says itself how long it is, and the packet may be longer (RFC 768).
    let length = match packet.view::<Ports>(offset) {
        Some(header) if is_udp => {
            let [high, low, ..] = header.rest;
            usize::from(u16::from_be_bytes([high, low]))
        }
        _ => room,
    };
    length > room
        || length < UdpHdr::LEN
        || packet.is_checksum_sound(&TransportSum {
            offset,
            length,
            check: offset + check_offset(parsed.protocol),
            pseudo_header: pseudo_sum(parsed, length),
            is_udp,
        })
}

/// Where the checksum stands in a transport header.
#[inline(always)]
const fn check_offset(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => core::mem::offset_of!(TcpHdr, check),
        Protocol::Udp => core::mem::offset_of!(UdpHdr, check),
    }
}

/// The folded sum of the pseudo header for a transport header and payload of this many octets.
#[inline(always)]
fn pseudo_sum<A: IpHeader>(parsed: &Parsed<A>, length: usize) -> u16 {
    checksum::fold(pseudo_header(
        &parsed.key.source,
        &parsed.key.destination,
        parsed.key.protocol as u8,
        length as u16,
    ))
}

#[cfg(test)]
mod tests {
    use harbor_common::{
        addr::{Family, Ipv4, Ipv6},
        flow::Flow,
    };

    use super::*;
    use crate::{
        parsed::Kind,
        stage::parse::Parse,
        testing::{Frame, is_sound, is_sound_v6, tcp, tcp_v6, udp, udp_v6},
    };

    fn translated<A: Parse>(octets: &[u8], source: A, destination: A) -> Vec<u8> {
        let mut frame = Frame::new(octets);
        let mut parsed = Parsed::default();
        assert_eq!(A::parse(&mut frame, &mut parsed), Ok(Kind::Whole));
        let (source_port, destination_port) = (10240, 65535);
        let way = Way {
            source,
            destination,
            source_port,
            destination_port,
            address_delta: checksum::fold(
                checksum::delta_address(&parsed.key.source, &source)
                    + checksum::delta_address(&parsed.key.destination, &destination),
            ),
            port_delta: checksum::fold(
                checksum::delta_port(parsed.key.source_port, source_port)
                    + checksum::delta_port(parsed.key.destination_port, destination_port),
            ),
            direction: Flow::<A>::FORWARD,
            ..Way::default()
        };
        translate(&mut frame, &parsed, &way).unwrap();
        frame.octets
    }

    #[test]
    fn addresses_ports_time_to_live_and_sums_change_and_nothing_else() {
        for before in [tcp(), udp()] {
            let (source, destination) = (Ipv4::new([10, 9, 8, 7]), Ipv4::new([172, 16, 255, 254]));
            let after = translated(&before, source, destination);
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
    fn ipv6_changes_in_the_same_places() {
        let address = |last| {
            let ip = core::net::IpAddr::from([0xfd00, 0, 0, 7, 0, 0, 0xffff, last]);
            Ipv6::of(&ip.into())
        };
        for before in [tcp_v6(), udp_v6()] {
            let after = translated(&before, address(1), address(2));
            assert!(is_sound_v6(&before) && is_sound_v6(&after));
            assert_eq!(after[21], before[21] - 1);
            assert_eq!(after[22..38], address(1).octets);
            assert_eq!(after[38..54], address(2).octets);
            assert_eq!(after[..21], before[..21]);
        }
    }

    #[test]
    fn a_wrong_sum_is_told_from_a_right_one_none_and_one_that_a_device_finishes() {
        fn is_sound<A: Parse>(octets: &[u8], pending: Option<usize>) -> bool {
            let mut frame = Frame::new(octets);
            frame.pending = pending;
            let mut parsed = Parsed::<A>::default();
            assert_eq!(A::parse(&mut frame, &mut parsed), Ok(Kind::Whole));
            super::is_sound(&mut frame, &parsed)
        }
        for (octets, check) in [(tcp(), 50), (udp(), 40)] {
            assert!(is_sound::<Ipv4>(&octets, None));
            let mut wrong = octets.clone();
            wrong[check] ^= 1;
            assert!(!is_sound::<Ipv4>(&wrong, None));
            assert!(is_sound::<Ipv4>(&wrong, Some(check)));
        }
        let mut bare = udp();
        bare[40..42].fill(0);
        assert!(is_sound::<Ipv4>(&bare, None));
        assert!(is_sound::<Ipv6>(&tcp_v6(), None) && is_sound::<Ipv6>(&udp_v6(), None));
    }

    #[test]
    fn a_datagram_without_a_checksum_keeps_none() {
        let mut frame = udp();
        frame[40..42].fill(0);
        let after = translated(&frame, Ipv4::new([10, 9, 8, 7]), Ipv4::new([10, 0, 0, 1]));
        assert_eq!(after[40..42], [0, 0]);
    }
}
