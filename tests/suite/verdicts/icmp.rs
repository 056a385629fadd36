//! ICMP errors: translated for whoever sent the packet that they quote, left alone otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kit::{
    APP_MACS, CLIENT_MAC, Family, NODE_BACKEND_MAC, NODE_MAC, V4,
    frame::{ETHERNET, Frame, Icmp, Transport, parse, protocol, sum},
    verdict::Action,
};

use super::bench::{APP_PORT, Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};
use crate::scene::FAMILIES;

/// What an error about a quoted packet says.
type About = fn(Family, &[u8]) -> Icmp;

const NEED_FRAG: About = |family, quoted| Icmp::too_big(family, 1280, quoted);

/// A message about the packet in a frame, of which this header's and `octets` more are quoted.
fn about(bench: &Bench, error: About, frame: &[u8], octets: usize) -> Transport {
    let end = (ETHERNET + header(bench) + octets).min(frame.len());
    Transport::Icmp(error(bench.family, &frame[ETHERNET..end]))
}

/// Octets of a plain IP header.
fn header(bench: &Bench) -> usize {
    if bench.family == V4 { 20 } else { 40 }
}

/// From a router on the client's side.
fn to_public(bench: &Bench, router: IpAddr, message: Transport) -> Vec<u8> {
    Frame::ip(NODE_MAC, CLIENT_MAC, (router, bench.public()), message).bytes()
}

/// From a router, or an app host, on the backends' side.
fn to_translation(bench: &Bench, router: IpAddr, message: Transport) -> Vec<u8> {
    let addresses = (router, bench.translation());
    Frame::ip(NODE_BACKEND_MAC, APP_MACS[0], addresses, message).bytes()
}

fn router(bench: &Bench) -> IpAddr {
    bench.lab.backend_host(bench.family, 99)
}

/// Runs an error that must be forwarded: all its sums must be right, and what it quotes must be,
/// but for the time to live, the packet that was sent.
#[track_caller]
fn translated(bench: &Bench, side: Side, error: &[u8], sent: &[u8], ends: (IpAddr, IpAddr)) {
    let (before, sent) = (parse(error).unwrap(), &sent[ETHERNET..]);
    let seen = bench.forward(side, error);
    assert_eq!((seen.source, seen.destination), ends);
    assert_eq!(seen.ttl, before.ttl - 1, "time to live");
    let (told, was) = (&seen.transport.rest, &before.transport.rest);
    assert_eq!(told[..8], was[..8], "kind, code and MTU");
    let quoted = &told[8..];
    let (addresses, carried) = match bench.family {
        V4 => (12..20, sent[9]),
        Family::V6 => (8..40, sent[6]),
    };
    if bench.family == V4 {
        assert_eq!(sum(&[&quoted[..20]]), 0, "quoted IP header");
    }
    assert_eq!(
        quoted[addresses.clone()],
        sent[addresses],
        "quoted addresses"
    );
    let at = header(bench);
    assert_eq!(quoted[at..at + 4], sent[at..at + 4], "quoted ports");
    if carried == protocol::UDP {
        assert_eq!(
            quoted[at + 6..at + 8],
            sent[at + 6..at + 8],
            "quoted checksum"
        );
    }
}

#[test]
fn an_error_about_a_clients_packet_reaches_the_client() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        // With another backend to go to, the client would not hear that this one is not there.
        for port in ["web", "udp-game"] {
            let second = SocketAddr::new(bench.app(1), APP_PORT).to_string();
            bench
                .agent
                .ctl(&["backends", "remove", port, &second, "--now"])
                .ok();
        }
        let errors: [About; 4] = [NEED_FRAG, Icmp::no_port, Icmp::no_host, Icmp::expired];
        for error in errors {
            for octets in [8, 20, 24] {
                for transport in [
                    syn(bench.client_port(), TCP_PORT),
                    datagram(bench.client_port(), UDP_PORT, b"is anybody there"),
                ] {
                    let sent = bench.to_node(transport).bytes();
                    let forwarded = bench.run(Side::Client, &sent).frame;
                    let message = about(&bench, error, &forwarded, octets);
                    // That a port is closed only its host can say.
                    let is_closed = error(family, &[]).code == Icmp::no_port(family, &[]).code;
                    let sender = match is_closed {
                        true => bench.app(0),
                        false => router(&bench),
                    };
                    let error = to_translation(&bench, sender, message);
                    let ends = (bench.public(), bench.client());
                    translated(&bench, Side::Backend, &error, &sent, ends);
                }
            }
        }
    }
}

#[test]
fn an_error_about_a_backends_packet_reaches_the_backend() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let talk = bench.established();
        let sent = bench.reply(&talk, Transport::Tcp(talk.reply())).bytes();
        let forwarded = bench.run(Side::Backend, &sent).frame;
        let message = about(&bench, NEED_FRAG, &forwarded, 20);
        let error = to_public(&bench, bench.client(), message);
        let ends = (bench.translation(), talk.backend);
        translated(&bench, Side::Client, &error, &sent, ends);

        let question = datagram(bench.client_port(), UDP_PORT, b"?");
        let asked = bench.forward(Side::Client, &bench.to_node(question).bytes());
        let answer = datagram(APP_PORT, asked.transport.source, b"an answer");
        let sent = bench.app_frame(answer).bytes();
        let forwarded = bench.run(Side::Backend, &sent).frame;
        let message = about(&bench, Icmp::no_port, &forwarded, 8);
        let error = to_public(&bench, bench.client(), message);
        let ends = (bench.translation(), bench.app(0));
        translated(&bench, Side::Client, &error, &sent, ends);
    }
}

#[test]
fn an_error_that_cannot_be_true_moves_no_flow_and_tells_nobody() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let port = bench.client_port();
        let asked = |text: &[u8]| bench.to_node(datagram(port, UDP_PORT, text)).bytes();
        let question = asked(b"is anybody there");
        let sent = bench.run(Side::Client, &question).frame;
        let host = bench.app(0);
        let passed = |side: Side, error: &[u8]| {
            let outcome = bench.run(side, error);
            assert_eq!((&*outcome.verdict, outcome.action), ("icmp", Action::Pass));
        };
        let no_port = |frame: &[u8]| about(&bench, Icmp::no_port, frame, 8);
        // From a router, which cannot know; by the clients' interface; about what was not sent.
        passed(
            Side::Backend,
            &to_translation(&bench, router(&bench), no_port(&sent)),
        );
        let by_clients = (host, bench.translation());
        let error = Frame::ip(NODE_MAC, CLIENT_MAC, by_clients, no_port(&sent));
        passed(Side::Client, &error.bytes());
        let check = ETHERNET + header(&bench) + 6;
        for bit in 0..16 {
            let mut other = sent.clone();
            other[check + bit / 8] ^= 1 << (bit % 8);
            passed(
                Side::Backend,
                &to_translation(&bench, host, no_port(&other)),
            );
        }
        assert_eq!(bench.forward(Side::Client, &question).destination, host);
        // Of the latest four any may be quoted, and no earlier one.
        for text in [&b"one"[..], b"two", b"three"] {
            let seen = bench.forward(Side::Client, &asked(text));
            assert_eq!(seen.destination, host);
        }
        let error = to_translation(&bench, host, no_port(&sent));
        let outcome = bench.run(Side::Backend, &error);
        assert_eq!(outcome.verdict, "backend-refused");
        let moved = bench.forward(Side::Client, &question);
        assert_ne!(moved.destination, host, "the flow has moved");
        let stranger = datagram(bench.client_port(), UDP_PORT, b"?");
        let other = bench.forward(Side::Client, &bench.to_node(stranger).bytes());
        assert_eq!(other.destination, host, "nobody else's has");
    }
}

#[test]
fn a_backend_is_told_of_no_path_narrower_than_the_least() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let talk = bench.established();
        let sent = bench.reply(&talk, Transport::Tcp(talk.reply())).bytes();
        let forwarded = bench.run(Side::Backend, &sent).frame;
        let told = |bench: &Bench, claimed| {
            let error = |family, quoted: &[u8]| Icmp::too_big(family, claimed, quoted);
            let end = (ETHERNET + header(bench) + 20).min(forwarded.len());
            let message = Transport::Icmp(error(family, &forwarded[ETHERNET..end]));
            let frame = to_public(bench, bench.client(), message);
            let seen = bench.forward(Side::Client, &frame);
            u16::from_be_bytes([seen.transport.rest[6], seen.transport.rest[7]])
        };
        assert_eq!(
            [0, 552, 1280, 1400].map(|claimed| told(&bench, claimed)),
            [1280, 1280, 1280, 1400]
        );
        bench
            .agent
            .ctl(&["config", "set", "policy.min_path_mtu", "1380"])
            .ok();
        kit::eventually(std::time::Duration::from_secs(5), || {
            told(&bench, 1300) == 1380
        });
    }
}

#[test]
fn what_quotes_no_flow_is_passed_byte_for_byte() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let sent = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
        let forwarded = bench.run(Side::Client, &sent).frame;
        let mut strange = forwarded.clone();
        strange[ETHERNET + header(&bench) + 1] ^= 1;
        let echo = Transport::Icmp(Icmp::echo_request(family, b"are you there"));
        let redirect: About = |family, quoted| Icmp {
            kind: if family == V4 { 5 } else { 137 },
            code: 1,
            rest: Ipv4Addr::new(10, 77, 2, 9).octets(),
            body: quoted.to_vec(),
        };
        let messages = [
            echo,
            about(&bench, NEED_FRAG, &strange, 20),
            about(&bench, redirect, &forwarded, 20),
            // Quotes what the client sent, but goes to the node: nobody sends that.
            about(&bench, NEED_FRAG, &sent, 20),
            // Less than the header and eight octets.
            about(&bench, NEED_FRAG, &forwarded, 7),
        ];
        for message in messages {
            let frame = to_translation(&bench, router(&bench), message);
            let outcome = bench.run(Side::Backend, &frame);
            let found = (outcome.action, outcome.verdict.as_str());
            assert_eq!(found, (Action::Pass, "icmp"), "{frame:02x?}");
            assert_eq!(outcome.frame, frame);
        }
    }
}

#[test]
fn an_echo_request_to_the_node_is_left_to_it() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let echo = Transport::Icmp(Icmp::echo_request(family, b"are you there"));
        let frame = bench.to_node(echo).bytes();
        let outcome = bench.run(Side::Client, &frame);
        assert_eq!((outcome.action, outcome.frame), (Action::Pass, frame));
    }
}
