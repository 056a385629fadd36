//! Builder and parser held against another library, and against single changed bits.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

use super::{
    Checksum, Extension, Frame, Icmp, Tcp, Transport, Udp, flag, fragments, parse, reassemble,
};
use crate::Family;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

fn between(family: Family, transport: Transport) -> Frame {
    let (to, from) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    match family {
        Family::V4 => Frame::ip(to, from, (CLIENT, NODE), transport),
        Family::V6 => Frame::ip(to, from, (CLIENT6, NODE6), transport),
    }
}

fn tcp() -> Transport {
    Transport::Tcp(Tcp {
        source: 40000,
        destination: 35000,
        sequence: 1,
        acknowledgement: 2,
        flags: flag::SYN,
        options: vec![2, 4, 5, 0xb4],
        payload: b"odd".to_vec(),
    })
}

fn udp(checksum: Checksum, payload: &[u8]) -> Transport {
    Transport::Udp(Udp {
        source: 40000,
        destination: 35000,
        checksum,
        payload: payload.to_vec(),
    })
}

#[test]
fn another_library_finds_our_checksums_right() {
    for family in Family::BOTH {
        let bytes = between(family, tcp()).bytes();
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(slice)) = sliced.transport else {
            panic!("no TCP")
        };
        let found = match family {
            Family::V4 => slice.calc_checksum_ipv4(CLIENT.octets(), NODE.octets()),
            Family::V6 => slice.calc_checksum_ipv6(CLIENT6.octets(), NODE6.octets()),
        };
        assert_eq!(found.unwrap(), slice.checksum());
        if let Some(ipv4) = sliced.net.unwrap().ipv4_ref() {
            let header = ipv4.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
        }
        assert!(parse(&bytes).is_ok());
    }
}

#[test]
fn we_read_what_another_library_writes() {
    let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
    let (v4, v6) = (
        ethernet().ipv4(CLIENT.octets(), NODE.octets(), 20),
        ethernet().ipv6(CLIENT6.octets(), NODE6.octets(), 20),
    );
    for builder in [v4, v6] {
        let mut bytes = Vec::new();
        builder
            .udp(40000, 35000)
            .write(&mut bytes, b"payload")
            .unwrap();
        let seen = parse(&bytes).unwrap();
        let expected = if seen.source.is_ipv4() {
            CLIENT.into()
        } else {
            CLIENT6.into()
        };
        assert_eq!((seen.source, seen.ttl), (expected, 20));
        let ports = (seen.transport.source, seen.transport.destination);
        assert_eq!(ports, (40000, 35000));
    }
    let mut bytes = Vec::new();
    let echo = ethernet().ipv6(CLIENT6.octets(), NODE6.octets(), 20);
    echo.icmpv6_echo_request(1, 2)
        .write(&mut bytes, b"ping")
        .unwrap();
    assert_eq!(parse(&bytes).unwrap().transport.rest[0], 128);
}

#[test]
fn one_changed_bit_anywhere_after_the_macs_is_noticed() {
    let ping = |family| Transport::Icmp(Icmp::echo_request(family, b"odd"));
    for family in Family::BOTH {
        for transport in [tcp(), udp(Checksum::Full, b"odd"), ping(family)] {
            let good = between(family, transport).bytes();
            let seen = parse(&good).unwrap();
            for bit in 12 * 8..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                // Traffic class, flow label and hop limit of IPv6 are under no checksum.
                if let Ok(changed) = parse(&bad) {
                    let unprotected = (seen.tos, seen.label, seen.ttl)
                        != (changed.tos, changed.label, changed.ttl);
                    assert!(family == Family::V6 && unprotected, "bit {bit}");
                }
            }
        }
    }
}

#[test]
fn a_datagram_may_be_without_a_checksum_over_ipv4_alone() {
    let bytes = |family| between(family, udp(Checksum::None, b"x")).bytes();
    assert!(parse(&bytes(Family::V4)).unwrap().transport.is_unprotected);
    assert!(parse(&bytes(Family::V6)).is_err());
}

#[test]
fn extension_headers_are_written_and_read_in_order() {
    let padding = Extension::PADDING.to_vec();
    let frame = between(Family::V6, tcp()).with6(|ip| {
        ip.extensions = vec![
            Extension::HopByHop(padding.clone()),
            Extension::Destination([&padding[..], &[1, 6, 0, 0, 0, 0, 0, 0]].concat()),
        ];
    });
    let bytes = frame.bytes();
    let seen = parse(&bytes).unwrap();
    assert_eq!((seen.options.len(), seen.transport.protocol), (24, 6));
    let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
    assert!(matches!(sliced.transport, Some(TransportSlice::Tcp(_))));
}

#[test]
fn parts_in_any_order_make_the_whole() {
    for family in Family::BOTH {
        let frame = between(family, udp(Checksum::Full, &[7; 1001]));
        let mut parts: Vec<_> = (fragments(&frame, 400, 99).iter().map(Frame::bytes)).collect();
        assert_eq!(parts.len(), 3);
        parts.rotate_left(1);
        let whole = parse(&reassemble(&parts).unwrap()).unwrap();
        assert_eq!(whole.transport, parse(&frame.bytes()).unwrap().transport);
        assert!(reassemble(&parts[1..]).is_err());
    }
}

#[test]
fn an_error_quotes_the_packet_that_it_is_about() {
    for family in Family::BOTH {
        let sent = between(family, tcp());
        for octets in [28, 48, 100] {
            let octets = if family == Family::V6 {
                octets + 20
            } else {
                octets
            };
            let packet = sent.packet_bytes();
            let quoted = &packet[..octets.min(packet.len())];
            let error = between(family, Transport::Icmp(Icmp::too_big(family, 1280, quoted)));
            let seen = parse(&error.bytes()).unwrap();
            let quote = seen.quote().unwrap();
            assert_eq!((quote.source_port, quote.destination_port), (40000, 35000));
            assert_eq!((quote.protocol, quote.source), (6, seen.source));
        }
    }
}
