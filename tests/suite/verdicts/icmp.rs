//! ICMP errors: translated for whoever sent the packet that they quote, left alone otherwise.

use std::net::Ipv4Addr;

use kit::{
    APP_MACS, CLIENT_MAC, NODE_BACKEND_MAC, NODE_MAC,
    frame::{Frame, Transport, parse},
    verdict::Action,
};

use super::bench::{APP_PORT, Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};

/// "Fragmentation needed, next-hop MTU 1280" (RFC 1191).
const NEED_FRAG: [u8; 8] = [3, 4, 0, 0, 0, 0, 0x05, 0x00];
/// "Port unreachable".
const NO_PORT: [u8; 8] = [3, 3, 0, 0, 0, 0, 0, 0];
/// "Time to live exceeded in transit".
const EXPIRED: [u8; 8] = [11, 0, 0, 0, 0, 0, 0, 0];
/// Where an IP packet begins in a frame, and where an ICMP message does.
const IP: usize = 14;
const ICMP: usize = 34;
/// Where the quoted packet begins.
const QUOTED: usize = 42;

fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A message about the packet in a frame, of which `octets` are quoted.
pub(super) fn about(head: [u8; 8], frame: &[u8], octets: usize) -> Transport {
    let mut message = [&head[..], &frame[IP..(IP + octets).min(frame.len())]].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    Transport::Raw(1, message)
}

/// From a router on the client's side.
fn to_public(bench: &Bench, router: Ipv4Addr, message: Transport) -> Vec<u8> {
    Frame::ipv4(NODE_MAC, CLIENT_MAC, (router, bench.lab.public()), message).bytes()
}

/// From a router, or an app host, on the backends' side.
fn to_translation(bench: &Bench, router: Ipv4Addr, message: Transport) -> Vec<u8> {
    let addresses = (router, bench.lab.translation());
    Frame::ipv4(NODE_BACKEND_MAC, APP_MACS[0], addresses, message).bytes()
}

/// Runs an error that must be forwarded: all its sums must be right, and what it quotes must be,
/// but for the time to live, the packet that was sent.
#[track_caller]
fn translated(bench: &Bench, side: Side, error: &[u8], sent: &[u8], ends: (Ipv4Addr, Ipv4Addr)) {
    let outcome = bench.run(side, error);
    assert_eq!(
        (outcome.action, outcome.verdict.as_str()),
        (Action::Redirect, "forward")
    );
    let out = &outcome.frame;
    assert_eq!(checksum(&out[IP..ICMP]), 0, "IP header");
    assert_eq!(checksum(&out[ICMP..]), 0, "message");
    assert_eq!(checksum(&out[QUOTED..QUOTED + 20]), 0, "quoted IP header");
    assert_eq!(
        (out[26..30].to_vec(), out[30..34].to_vec()),
        (ends.0.octets().to_vec(), ends.1.octets().to_vec())
    );
    assert_eq!(out[22], error[22] - 1, "time to live");
    assert_eq!(out[ICMP..ICMP + 2], error[ICMP..ICMP + 2], "kind and code");
    assert_eq!(out[ICMP + 4..QUOTED], error[ICMP + 4..QUOTED], "MTU");
    let quoted = &out[QUOTED..];
    assert_eq!(quoted[12..20], sent[IP + 12..IP + 20], "quoted addresses");
    assert_eq!(quoted[20..24], sent[IP + 20..IP + 24], "quoted ports");
    if sent[23] == 17 {
        assert_eq!(quoted[26..28], sent[IP + 26..IP + 28], "quoted checksum");
    }
}

#[test]
fn an_error_about_a_clients_packet_reaches_the_client() {
    let bench = Bench::new();
    for head in [NEED_FRAG, NO_PORT, EXPIRED] {
        for (transport, octets) in [
            (syn(bench.client_port(), TCP_PORT), 40),
            (syn(bench.client_port(), TCP_PORT), 28),
            (
                datagram(bench.client_port(), UDP_PORT, b"is anybody there"),
                44,
            ),
            (
                datagram(bench.client_port(), UDP_PORT, b"is anybody there"),
                28,
            ),
        ] {
            let sent = bench.to_node(transport).bytes();
            let forwarded = bench.run(Side::Client, &sent).frame;
            let router = Ipv4Addr::new(10, 77, 2, 200);
            let error = to_translation(&bench, router, about(head, &forwarded, octets));
            let ends = (bench.lab.public(), bench.lab.client_address());
            translated(&bench, Side::Backend, &error, &sent, ends);
        }
    }
}

#[test]
fn an_error_about_a_backends_packet_reaches_the_backend() {
    let bench = Bench::new();
    let talk = bench.established();
    let sent = bench.reply(&talk, Transport::Tcp(talk.reply())).bytes();
    let forwarded = bench.run(Side::Backend, &sent).frame;
    let router = Ipv4Addr::new(10, 77, 1, 200);
    let error = to_public(&bench, router, about(NEED_FRAG, &forwarded, 40));
    translated(
        &bench,
        Side::Client,
        &error,
        &sent,
        (bench.lab.translation(), talk.backend),
    );

    let asked = bench
        .to_node(datagram(bench.client_port(), UDP_PORT, b"?"))
        .bytes();
    let asked = parse(&bench.run(Side::Client, &asked).frame).unwrap();
    let answer = datagram(APP_PORT, asked.transport.source, b"an answer");
    let sent = bench.app_frame(answer).bytes();
    let forwarded = bench.run(Side::Backend, &sent).frame;
    let error = to_public(
        &bench,
        bench.lab.client_address(),
        about(NO_PORT, &forwarded, 28),
    );
    translated(
        &bench,
        Side::Client,
        &error,
        &sent,
        (bench.lab.translation(), bench.lab.app(0)),
    );
}

#[test]
fn what_quotes_no_flow_is_passed_byte_for_byte() {
    let bench = Bench::new();
    let sent = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
    let forwarded = bench.run(Side::Client, &sent).frame;
    let router = Ipv4Addr::new(10, 77, 2, 200);
    let mut strange = forwarded.clone();
    strange[ICMP + 1] ^= 1;
    let echo = Transport::Raw(1, vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let frames = [
        to_translation(&bench, router, echo),
        to_translation(&bench, router, about(NEED_FRAG, &strange, 40)),
        to_translation(
            &bench,
            router,
            about([5, 1, 0, 0, 10, 77, 2, 9], &forwarded, 40),
        ),
        // Quotes what the client sent, but goes to the node: nobody sends that.
        to_translation(&bench, router, about(NEED_FRAG, &sent, 40)),
        // Less than the header and eight octets.
        to_translation(&bench, router, about(NEED_FRAG, &forwarded, 27)),
    ];
    for frame in frames {
        let outcome = bench.run(Side::Backend, &frame);
        assert_eq!(
            (outcome.action, outcome.verdict.as_str()),
            (Action::Pass, "icmp")
        );
        assert_eq!(outcome.frame, frame);
    }
}
