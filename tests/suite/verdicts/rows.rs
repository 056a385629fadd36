//! One row for every reason, and more where a reason has several causes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kit::{
    CLIENT_MAC, Family, NODE_MAC, V4, V6,
    frame::{Frame, Icmp, Packet, Seen, Transport, ethertype, flag, fragments, parse},
    verdict::{Action, is_drop},
};

use super::bench::{
    APP_PORT, Bench, EMPTY_PORT, RANGE_PORT, Side, TCP_PORT, UDP_PORT, datagram, segment, syn,
};
use crate::scene::FAMILIES;

/// A frame and what becomes of it; alike in both families, unless it says otherwise.
pub(super) struct Row {
    promise: &'static str,
    /// The name of the verdict that is counted.
    pub(super) verdict: &'static str,
    side: Side,
    frame: fn(&Bench) -> Vec<u8>,
    families: &'static [Family],
}

const fn row(
    verdict: &'static str,
    promise: &'static str,
    side: Side,
    frame: fn(&Bench) -> Vec<u8>,
) -> Row {
    Row {
        promise,
        verdict,
        side,
        frame,
        families: &Family::BOTH,
    }
}

const fn row_v4(
    verdict: &'static str,
    promise: &'static str,
    side: Side,
    frame: fn(&Bench) -> Vec<u8>,
) -> Row {
    Row {
        families: &[V4],
        ..row(verdict, promise, side, frame)
    }
}

const fn row_v6(
    verdict: &'static str,
    promise: &'static str,
    side: Side,
    frame: fn(&Bench) -> Vec<u8>,
) -> Row {
    Row {
        families: &[V6],
        ..row(verdict, promise, side, frame)
    }
}

use Side::{Backend, Client};

pub(super) const ROWS: &[Row] = &[
    // Not Harbor's: passed, byte for byte.
    row("not-ip", "an ARP request", Client, |_| {
        raw(ethertype::ARP, &[0, 1, 8, 0, 6, 4, 0, 1])
    }),
    row(
        "not-ip",
        "a VLAN tag in front of a SYN for a port",
        Client,
        |b| {
            Frame {
                tags: vec![7],
                ..b.to_node(syn(b.client_port(), TCP_PORT))
            }
            .bytes()
        },
    ),
    row("not-ip", "LLDP", Client, |_| {
        raw(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 1, 1])
    }),
    row(
        "malformed",
        "a frame that ends before the packet does",
        Client,
        |b| {
            let whole = b.to_node(syn(b.client_port(), TCP_PORT)).bytes();
            whole[..whole.len() - 4].to_vec()
        },
    ),
    row("malformed", "version 5", Client, |b| patched(b, 14, 0x55)),
    row_v4("malformed", "a header of 16 bytes", Client, |b| {
        patched(b, 14, 0x44)
    }),
    row(
        "malformed",
        "a length shorter than its headers",
        Client,
        |b| patched(b, if b.family == V4 { 17 } else { 19 }, 19),
    ),
    row("icmp", "an ICMP echo request", Client, |b| {
        let echo = Icmp::echo_request(b.family, b"are you there");
        b.to_node(Transport::Icmp(echo)).bytes()
    }),
    row("other-protocol", "GRE", Client, |b| {
        b.to_node(Transport::Raw(47, vec![0; 24])).bytes()
    }),
    row(
        "fragment",
        "the later part of a datagram whose first part nobody has seen",
        Client,
        |b| parts(b, datagram(b.client_port(), UDP_PORT, &[0; 64])).remove(1),
    ),
    row(
        "fragment",
        "the first part of a SYN, which opens nothing",
        Client,
        |b| parts(b, syn(b.client_port(), TCP_PORT)).remove(0),
    ),
    row(
        "ip-options",
        "options or extension headers on a SYN",
        Client,
        |b| b.to_node(syn(b.client_port(), TCP_PORT)).optioned().bytes(),
    ),
    row_v6("ip-options", "a routing header", Client, |b| {
        let mut bytes = b.to_node(syn(b.client_port(), TCP_PORT)).bytes();
        bytes[20] = 43;
        bytes
    }),
    row(
        "other-host",
        "a neighbour's frame on a shared wire",
        Client,
        |b| {
            Frame {
                to: [2, 0, 0, 0, 9, 9],
                ..b.to_node(syn(b.client_port(), TCP_PORT))
            }
            .bytes()
        },
    ),
    row(
        "other-host",
        "a unicast packet in a broadcast frame",
        Client,
        |b| {
            Frame {
                to: [0xff; 6],
                ..b.to_node(syn(b.client_port(), TCP_PORT))
            }
            .bytes()
        },
    ),
    row("not-ours", "a port that nobody created", Client, |b| {
        b.to_node(syn(b.client_port(), 22)).bytes()
    }),
    row("not-ours", "a datagram for a TCP port", Client, |b| {
        b.to_node(datagram(b.client_port(), TCP_PORT, b"?")).bytes()
    }),
    row(
        "not-ours",
        "another host's address with a number of ours",
        Client,
        |b| {
            b.to_node(syn(b.client_port(), TCP_PORT))
                .destination(b.lab.backend_host(b.family, 77))
                .bytes()
        },
    ),
    row("no-flow", "an ACK that belongs to nothing", Client, |b| {
        b.to_node(segment(b.client_port(), TCP_PORT, flag::ACK))
            .bytes()
    }),
    row("no-flow", "a reset that belongs to nothing", Client, |b| {
        b.to_node(segment(b.client_port(), TCP_PORT, flag::RST))
            .bytes()
    }),
    row("no-flow", "a SYN-ACK that nobody asked for", Client, |b| {
        b.to_node(segment(b.client_port(), TCP_PORT, flag::SYN | flag::ACK))
            .bytes()
    }),
    row(
        "unknown-sender",
        "a stranger on the backends' network",
        Backend,
        |b| {
            let stranger = b.lab.backend_host(b.family, 99);
            b.host_frame(stranger, segment(APP_PORT, RANGE_PORT, flag::SYN))
                .bytes()
        },
    ),
    row(
        "unknown-sender",
        "another port of a backend's host",
        Backend,
        |b| b.app_frame(segment(22, RANGE_PORT, flag::SYN)).bytes(),
    ),
    // Harbor's, and refused.
    row(
        "no-backend",
        "a SYN for a port without a backend",
        Client,
        |b| b.to_node(syn(b.client_port(), EMPTY_PORT)).bytes(),
    ),
    row(
        "own-source",
        "the node's own address as the sender",
        Client,
        |b| {
            let own = b.translation();
            b.to_node(datagram(b.client_port(), UDP_PORT, b"loop"))
                .source(own)
                .bytes()
        },
    ),
    row_v4("martian-source", "loopback as the sender", Client, |b| {
        martian(b, Ipv4Addr::LOCALHOST.into())
    }),
    row_v4(
        "martian-source",
        "this network as the sender",
        Client,
        |b| martian(b, Ipv4Addr::UNSPECIFIED.into()),
    ),
    row_v4("martian-source", "a group as the sender", Client, |b| {
        martian(b, Ipv4Addr::new(224, 0, 0, 1).into())
    }),
    row_v4("martian-source", "broadcast as the sender", Client, |b| {
        martian(b, Ipv4Addr::BROADCAST.into())
    }),
    row_v6(
        "martian-source",
        "IPv6 loopback as the sender",
        Client,
        |b| martian(b, Ipv6Addr::LOCALHOST.into()),
    ),
    row_v6(
        "martian-source",
        "no IPv6 address as the sender",
        Client,
        |b| martian(b, Ipv6Addr::UNSPECIFIED.into()),
    ),
    row_v6(
        "martian-source",
        "an IPv6 group as the sender",
        Client,
        |b| martian(b, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()),
    ),
    row("ttl-expired", "a SYN whose time is up", Client, |b| {
        b.to_node(syn(b.client_port(), TCP_PORT)).ttl(1).bytes()
    }),
    row(
        "ttl-expired",
        "a segment of a live flow whose time is up",
        Client,
        |b| {
            let request = Transport::Tcp(b.established().request());
            b.to_node(request).ttl(1).bytes()
        },
    ),
    row("ttl-expired", "a reply whose time is up", Backend, |b| {
        let talk = b.established();
        b.reply(&talk, Transport::Tcp(talk.reply())).ttl(0).bytes()
    }),
    row(
        "backend-no-flow",
        "a backend that calls instead of answering",
        Backend,
        |b| {
            b.app_frame(segment(APP_PORT, RANGE_PORT, flag::SYN))
                .bytes()
        },
    ),
    row(
        "backend-no-flow",
        "a backend that sends a datagram instead of answering one",
        Backend,
        |b| {
            b.host_frame(b.app(1), datagram(APP_PORT, RANGE_PORT, b"!"))
                .bytes()
        },
    ),
    row(
        "backend-no-flow",
        "a backend's reset, which nothing answers",
        Backend,
        |b| {
            b.app_frame(segment(APP_PORT, RANGE_PORT, flag::RST))
                .bytes()
        },
    ),
    row(
        "flow-fragment",
        "the first part of a live flow's segment, without the whole TCP header",
        Client,
        |b| {
            let request = Transport::Tcp(b.established().request());
            fragments(&b.to_node(request), 16, 7).remove(0).bytes()
        },
    ),
];

fn raw(kind: u16, payload: &[u8]) -> Vec<u8> {
    let packet = Packet::Raw(kind, payload.to_vec());
    Frame {
        to: NODE_MAC,
        from: CLIENT_MAC,
        tags: Vec::new(),
        packet,
    }
    .bytes()
}

/// A SYN for a port with one byte changed.
fn patched(bench: &Bench, at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
    bytes[at] = value;
    bytes
}

fn martian(bench: &Bench, source: IpAddr) -> Vec<u8> {
    let request = bench.to_node(syn(bench.client_port(), TCP_PORT));
    request.source(source).bytes()
}

/// A packet for the node in parts of 24 octets.
fn parts(bench: &Bench, transport: Transport) -> Vec<Vec<u8>> {
    let parts = fragments(&bench.to_node(transport), 24, 0xbeef);
    parts.iter().map(Frame::bytes).collect()
}

/// Reasons that are told to the sender, if it is one that can be told.
const TOLD: [&str; 4] = [
    "ttl-expired",
    "backend-gone",
    "backend-no-flow",
    "source-ports",
];

#[test]
fn each_frame_has_the_verdict_of_its_row_and_what_is_passed_leaves_as_it_came() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        for row in ROWS.iter().filter(|row| row.families.contains(&family)) {
            let frame = (row.frame)(&bench);
            let outcome = bench.run(row.side, &frame);
            let shown = format!("{}: {frame:02x?}", row.promise);
            assert_eq!(outcome.verdict, row.verdict, "{shown}");
            match outcome.action {
                Action::Answer => {
                    assert!(TOLD.contains(&row.verdict), "{shown}");
                    is_answer(&frame, &outcome.frame);
                }
                action => {
                    let expected = match is_drop(row.verdict) {
                        true => Action::Drop,
                        false => Action::Pass,
                    };
                    assert_eq!(action, expected, "{shown}");
                    assert_eq!(outcome.frame, frame, "{} changed the frame", row.promise);
                }
            }
        }
    }
}

/// An answer goes back to where the frame came from, and its sums are right.
#[track_caller]
pub(super) fn is_answer(frame: &[u8], answer: &[u8]) -> Seen {
    let (before, after) = (parse(frame).unwrap(), parse(answer).unwrap());
    assert_eq!((after.to, after.from), (before.from, before.to));
    assert_eq!(
        (after.source, after.destination),
        (before.destination, before.source)
    );
    after
}
