//! Lengths that lie: what the frame holds and what the packet says, the lesser of both counts.

use kit::{
    V4,
    frame::{ETHERNET, Frame, Icmp, Transport, fragments},
    verdict::{Action, Outcome},
};

use super::bench::{Bench, Side, UDP_PORT, datagram};
use crate::scene::FAMILIES;

/// Passed as it came, as something that cannot be read.
#[track_caller]
fn is_left_alone(frame: &[u8], outcome: &Outcome, names: &[&str]) {
    let verdict = outcome.verdict.as_str();
    let is_right = outcome.action == Action::Pass && names.contains(&verdict);
    assert!(is_right, "{outcome:?}\nfrom {frame:02x?}");
    assert_eq!(outcome.frame, frame);
}

const CUT: [&str; 2] = ["malformed", "truncated"];

/// An error about a datagram that the node has sent to a backend, which quotes so many octets behind
/// its IP header.
fn error(bench: &Bench, octets: usize) -> Vec<u8> {
    let question = datagram(bench.client_port(), UDP_PORT, b"is anybody there");
    let sent = bench.run(Side::Client, &bench.to_node(question).bytes());
    let header = if bench.family == V4 { 20 } else { 40 };
    let quoted = &sent.frame[ETHERNET..ETHERNET + header + octets];
    let message = Transport::Icmp(Icmp::too_big(bench.family, 1_280, quoted));
    bench.app_frame(message).bytes()
}

#[test]
fn an_icmp_error_that_ends_before_its_packet_does_is_left_alone() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let whole = error(&bench, 24);
        for missing in [1, 8, 15] {
            let cut = &whole[..whole.len() - missing];
            is_left_alone(cut, &bench.run(Side::Backend, cut), &CUT);
        }
    }
}

#[test]
fn padding_behind_an_icmp_error_is_no_part_of_what_it_quotes() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        for octets in [4, 7] {
            let mut padded = error(&bench, octets);
            padded.extend([0xa5; 12]);
            is_left_alone(&padded, &bench.run(Side::Backend, &padded), &["icmp"]);
        }
    }
}

#[test]
fn an_icmp_error_with_a_length_of_nothing_is_left_alone() {
    let bench = Bench::plain(V4);
    let mut frame = error(&bench, 24);
    frame[16..18].fill(0);
    is_left_alone(&frame, &bench.run(Side::Backend, &frame), &CUT);
}

#[test]
fn a_later_fragment_whose_header_is_longer_than_it_is_left_alone() {
    let bench = Bench::plain(V4);
    let question = datagram(bench.client_port(), UDP_PORT, &[7; 64]);
    let frame = bench.to_node(question);
    bench.forward(Side::Client, &frame.bytes());
    let parts = fragments(&frame, 40, 77);
    let [first, later] = &parts.iter().map(Frame::bytes).collect::<Vec<_>>()[..] else {
        panic!("{} parts", parts.len());
    };
    assert_eq!(bench.run(Side::Client, first).verdict, "forward");
    let mut lying = later.clone();
    lying[ETHERNET] = 0x4f;
    lying[16..18].copy_from_slice(&28u16.to_be_bytes());
    is_left_alone(&lying, &bench.run(Side::Client, &lying), &CUT);
    assert_eq!(bench.run(Side::Client, later).verdict, "forward");
}

#[test]
fn the_first_part_of_a_datagram_with_options_opens_nothing() {
    let bench = Bench::plain(V4);
    let question = datagram(bench.client_port(), UDP_PORT, &[7; 64]);
    let frame = bench.to_node(question).optioned();
    let part = fragments(&frame, 40, 78)[0].bytes();
    let names = ["ip-options", "fragment"];
    is_left_alone(&part, &bench.run(Side::Client, &part), &names);
}
