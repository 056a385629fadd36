//! Frames in, fields or reasons out.

use super::*;
use harbor_common::rules::transition;

use crate::testing::{Frame, tcp, tcp_v6, udp, udp_v6, v6};

/// Reads a frame as the pipeline does.
fn read<A: Parse>(frame: &mut Frame) -> Result<(Kind, Parsed<A>), Verdict> {
    let version = link(frame)?;
    assert_eq!(version == Version::V4, A::INDEX == 0, "the other family");
    let mut parsed = Parsed::default();
    let kind = A::parse(frame, &mut parsed)?;
    Ok((kind, parsed))
}

fn parsed(octets: &[u8]) -> Result<Parsed<Ipv4>, Verdict> {
    read(&mut Frame::new(octets)).map(|(_, parsed)| parsed)
}

fn parsed_v6(octets: &[u8]) -> Result<(Kind, Parsed<Ipv6>), Verdict> {
    read(&mut Frame::new(octets))
}

fn kind(octets: &[u8]) -> Kind {
    read::<Ipv4>(&mut Frame::new(octets)).unwrap().0
}

fn pass(octets: &[u8]) -> PassReason {
    match parsed(octets) {
        Err(Verdict::Pass(reason)) => reason,
        other => panic!("expected a reason to pass, got {other:?}"),
    }
}

/// A frame with octets replaced from an offset on.
fn with(frame: Vec<u8>, offset: usize, octets: &[u8]) -> Vec<u8> {
    let mut frame = frame;
    frame[offset..offset + octets.len()].copy_from_slice(octets);
    frame
}

#[test]
fn a_tcp_segment_is_read() {
    let parsed = parsed(&tcp()).unwrap();
    assert_eq!(parsed.key.source, Ipv4::new([192, 0, 2, 1]));
    assert_eq!(parsed.key.destination, Ipv4::new([198, 51, 100, 1]));
    assert_eq!(
        (parsed.key.source_port, parsed.key.destination_port),
        (40000, 35000)
    );
    assert_eq!((parsed.l4(), parsed.length, parsed.ttl), (34, 44, 64));
    assert_eq!(
        parsed.tcp,
        Tcp {
            flags: transition::SYN,
            sequence: 7,
            acknowledgment: 9,
            header: 20,
        }
    );
    assert!(transition::opens(parsed.tcp.flags));
    assert_eq!(parsed.sequence_space(), 5, "four octets and the SYN");
}

#[test]
fn a_udp_datagram_is_read() {
    let parsed = parsed(&udp()).unwrap();
    assert_eq!(parsed.protocol, Protocol::Udp);
    assert_eq!((parsed.length, parsed.tcp), (31, Tcp::default()));
}

#[test]
fn every_truncation_of_every_frame_is_left_to_the_stack() {
    for frame in [tcp(), udp()] {
        for length in 0..frame.len() {
            let reason = pass(&frame[..length]);
            let expected = [PassReason::Truncated, PassReason::Malformed];
            assert!(expected.contains(&reason), "{length} octets: {reason:?}");
        }
    }
}

#[test]
fn what_is_no_transport_over_ip_has_its_own_reason() {
    assert_eq!(pass(&with(tcp(), 12, &[0x08, 0x06])), PassReason::NotIp);
    assert_eq!(pass(&with(tcp(), 12, &[0x81, 0x00])), PassReason::NotIp);
    assert_eq!(pass(&with(tcp(), 23, &[132])), PassReason::OtherProtocol);
    let mut tagged = Frame::new(&tcp());
    tagged.has_vlan = true;
    let passed = Err(Verdict::Pass(PassReason::NotIp));
    assert_eq!(link(&mut tagged), passed, "a tag that the device took out");
}

#[test]
fn icmp_and_later_fragments_are_told_apart() {
    assert_eq!(kind(&tcp()), Kind::Whole);
    assert_eq!(kind(&with(tcp(), 23, &[1])), Kind::Icmp);
    assert_eq!(kind(&with(tcp(), 20, &[0x00, 0x05])), Kind::Fragment);
    assert_eq!(
        parsed(&with(tcp(), 20, &[0x00, 0x05]))
            .unwrap()
            .identification,
        0x1234
    );
}

#[test]
fn ipv6_is_read_alike() {
    let (kind, parsed) = parsed_v6(&tcp_v6()).unwrap();
    assert_eq!((kind, parsed.l4(), parsed.length), (Kind::Whole, 54, 64));
    assert_eq!(
        (parsed.key.source_port, parsed.key.destination_port),
        (40000, 35000)
    );
    assert_eq!(parsed.key.destination.octets[15], 1);
    assert!(transition::opens(parsed.tcp.flags));
    assert_eq!(parsed.sequence_space(), 5);
    let (_, parsed) = parsed_v6(&udp_v6()).unwrap();
    assert_eq!((parsed.protocol, parsed.length), (Protocol::Udp, 51));
    for whole in [tcp_v6(), udp_v6()] {
        for length in 0..whole.len() {
            assert!(parsed_v6(&whole[..length]).is_err(), "{length} octets");
        }
    }
}

#[test]
fn extension_headers_are_read_over_within_bounds() {
    let transport = tcp()[34..].to_vec();
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let options = [6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let both = [&hop_by_hop[..], &options[..]].concat();
    let (kind, parsed) = parsed_v6(&v6(0, &both, &transport)).unwrap();
    assert_eq!((kind, parsed.oddity), (Kind::Whole, Oddity::Options));
    assert_eq!((parsed.l4(), parsed.key.destination_port), (78, 35000));

    let routing = [6, 0, 0, 0, 0, 0, 0, 0];
    let passed = |reason| Err(Verdict::Pass(reason));
    assert_eq!(
        parsed_v6(&v6(43, &routing, &transport)),
        passed(PassReason::Options)
    );
    let fragment = [17, 0, 0, 9, 0, 0, 0, 7];
    let mut cut = v6(44, &fragment, &transport);
    assert_eq!(parsed_v6(&cut).unwrap().0, Kind::Fragment);
    // It says that it ends in its own fragment header.
    cut[18..20].copy_from_slice(&[0, 7]);
    assert_eq!(parsed_v6(&cut), passed(PassReason::Malformed));
    let endless: Vec<u8> = std::iter::repeat_n([60, 0, 1, 4, 0, 0, 0, 0], 5)
        .flatten()
        .collect();
    assert!(parsed_v6(&v6(60, &endless, &transport)).is_err());
    assert_eq!(
        parsed_v6(&v6(50, &[], &transport)),
        passed(PassReason::OtherProtocol)
    );
}

#[test]
fn fragments_of_ipv6_are_told_apart() {
    let transport = udp()[34..].to_vec();
    let fragment = |offset: u8, more: u8| [17, 0, 0, offset << 3 | more, 0, 0, 0, 9];
    let (kind, parsed) = parsed_v6(&v6(44, &fragment(0, 1), &transport)).unwrap();
    assert_eq!((kind, parsed.oddity), (Kind::Whole, Oddity::FirstFragment));
    assert_eq!(
        (parsed.identification, parsed.key.destination_port),
        (9, 35000)
    );
    let (kind, parsed) = parsed_v6(&v6(44, &fragment(3, 0), &transport)).unwrap();
    assert_eq!((kind, parsed.identification), (Kind::Fragment, 9));
    assert_eq!(parsed.key.protocol, 17);
}

#[test]
fn a_first_fragment_without_the_whole_tcp_header_is_tiny() {
    let mut frame = with(tcp(), 20, &[0x20, 0x00]);
    frame.truncate(34 + 8);
    frame[17] = 28;
    assert_eq!(parsed(&frame).unwrap().oddity, Oddity::TinyFragment);
}

#[test]
fn contradictions_are_malformed() {
    assert_eq!(pass(&with(tcp(), 14, &[0x65])), PassReason::Malformed);
    assert_eq!(pass(&with(tcp(), 14, &[0x44])), PassReason::Malformed);
    assert_eq!(pass(&with(tcp(), 16, &[0, 45])), PassReason::Malformed);
    assert_eq!(pass(&with(tcp(), 16, &[0, 39])), PassReason::Malformed);
    assert_eq!(pass(&with(udp(), 16, &[0, 27])), PassReason::Malformed);
    assert_eq!(pass(&with(tcp(), 16, &[0, 0])), PassReason::Malformed);
}

#[test]
fn a_padded_frame_is_as_long_as_its_header_says() {
    let mut frame = udp();
    frame.resize(60, 0);
    assert_eq!(parsed(&frame).unwrap().length, 31);
}

#[test]
fn a_super_packet_without_a_length_is_as_long_as_the_frame() {
    let mut frame = Frame::new(&with(tcp(), 16, &[0, 0]));
    frame.is_segmented = true;
    assert_eq!(read::<Ipv4>(&mut frame).unwrap().1.length, 44);
}

#[test]
fn another_hosts_frame_is_not_looked_at() {
    let mut frame = Frame::new(&tcp());
    frame.is_for_other_host = true;
    assert_eq!(link(&mut frame), Err(Verdict::Pass(PassReason::OtherHost)));
}

#[test]
fn oddities_are_named_and_the_ports_still_found() {
    assert_eq!(
        parsed(&with(tcp(), 20, &[0x20, 0x00])).unwrap().oddity,
        Oddity::FirstFragment
    );
    let mut frame = with(tcp(), 14, &[0x46]);
    frame.splice(34..34, [1, 1, 1, 0]);
    frame[17] += 4;
    let parsed = parsed(&frame).unwrap();
    assert_eq!((parsed.oddity, parsed.l4()), (Oddity::Options, 38));
    assert_eq!(parsed.key.destination_port, 35000);
}
