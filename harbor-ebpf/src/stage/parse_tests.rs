//! Frames in, fields or reasons out.

use super::*;
use crate::testing::{Frame, tcp, udp};

fn parsed(octets: &[u8]) -> Result<Parsed, Verdict> {
    parse(&mut Frame::new(octets))
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
    assert_eq!((parsed.l4, parsed.length, parsed.ttl), (34, 44, 64));
    assert_eq!(
        parsed.tcp,
        Tcp {
            flags: Tcp::SYN,
            sequence: 7,
            acknowledgment: 9
        }
    );
    assert!(parsed.tcp.opens());
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
fn what_is_not_plain_ipv4_has_its_own_reason() {
    assert_eq!(pass(&with(tcp(), 12, &[0x86, 0xdd])), PassReason::Ipv6);
    assert_eq!(pass(&with(tcp(), 12, &[0x08, 0x06])), PassReason::NotIp);
    assert_eq!(pass(&with(tcp(), 12, &[0x81, 0x00])), PassReason::NotIp);
    assert_eq!(pass(&with(tcp(), 23, &[1])), PassReason::Icmp);
    assert_eq!(pass(&with(tcp(), 23, &[132])), PassReason::OtherProtocol);
    assert_eq!(pass(&with(tcp(), 20, &[0x00, 0x05])), PassReason::Fragment);
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
    assert_eq!(parse(&mut frame).unwrap().length, 44);
}

#[test]
fn another_hosts_frame_is_not_looked_at() {
    let mut frame = Frame::new(&tcp());
    frame.is_for_other_host = true;
    assert_eq!(parse(&mut frame), Err(Verdict::Pass(PassReason::OtherHost)));
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
    assert_eq!((parsed.oddity, parsed.l4), (Oddity::Options, 38));
    assert_eq!(parsed.key.destination_port, 35000);
}
