//! One row for every reason, and more where a reason has several causes.

use std::net::Ipv4Addr;

use kit::{
    CLIENT_MAC, NODE_MAC,
    frame::{Frame, Packet, Tcp, Transport, ethertype, flag},
    verdict::{Action, is_drop},
};

use super::bench::{
    APP_PORT, Bench, EMPTY_PORT, RANGE_PORT, Side, TCP_PORT, UDP_PORT, datagram, segment, syn,
};

/// A frame and what becomes of it.
pub(super) struct Row {
    promise: &'static str,
    /// The name of the verdict that is counted.
    pub(super) verdict: &'static str,
    side: Side,
    frame: fn(&Bench) -> Vec<u8>,
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
    row("ipv6", "IPv6", Client, |_| {
        raw(ethertype::IPV6, &[0x60; 60])
    }),
    row(
        "malformed",
        "a frame that ends before the packet does",
        Client,
        |b| b.to_node(syn(b.client_port(), TCP_PORT)).bytes()[..50].to_vec(),
    ),
    row("malformed", "version 5", Client, |b| patched(b, 14, 0x55)),
    row("malformed", "a header of 16 bytes", Client, |b| {
        patched(b, 14, 0x44)
    }),
    row(
        "malformed",
        "a total length shorter than its headers",
        Client,
        |b| patched(b, 17, 39),
    ),
    row("icmp", "an ICMP echo request", Client, |b| {
        b.to_node(Transport::Raw(1, vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0]))
            .bytes()
    }),
    row("other-protocol", "GRE", Client, |b| {
        b.to_node(Transport::Raw(47, vec![0; 24])).bytes()
    }),
    row(
        "fragment",
        "the later part of a datagram for a port",
        Client,
        |b| {
            let datagram = datagram(b.client_port(), UDP_PORT, b"later");
            b.to_node(datagram).with(|ip| ip.fragment = 185).bytes()
        },
    ),
    row(
        "fragment",
        "the first part of a datagram that opens nothing",
        Client,
        |b| {
            let datagram = datagram(b.client_port(), UDP_PORT, &[0; 64]);
            b.to_node(datagram).with(|ip| ip.fragment = 0x2000).bytes()
        },
    ),
    row("ip-options", "IP options on a SYN", Client, |b| {
        b.to_node(syn(b.client_port(), TCP_PORT))
            .with(|ip| ip.options = OPTIONS.to_vec())
            .bytes()
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
            let elsewhere = |ip: &mut kit::frame::Ip| ip.destination = Ipv4Addr::new(192, 0, 2, 1);
            b.to_node(syn(b.client_port(), TCP_PORT))
                .with(elsewhere)
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
    row("martian-source", "loopback as the sender", Client, |b| {
        martian(b, [127, 0, 0, 1])
    }),
    row(
        "martian-source",
        "this network as the sender",
        Client,
        |b| martian(b, [0, 0, 0, 0]),
    ),
    row("martian-source", "a group as the sender", Client, |b| {
        martian(b, [224, 0, 0, 1])
    }),
    row("martian-source", "broadcast as the sender", Client, |b| {
        martian(b, [255; 4])
    }),
    row("ttl-expired", "a SYN whose time is up", Client, |b| {
        b.to_node(syn(b.client_port(), TCP_PORT))
            .with(|ip| ip.ttl = 1)
            .bytes()
    }),
    row(
        "ttl-expired",
        "a segment of a live flow whose time is up",
        Client,
        |b| {
            let request = Transport::Tcp(b.established().request());
            b.to_node(request).with(|ip| ip.ttl = 1).bytes()
        },
    ),
    row("ttl-expired", "a reply whose time is up", Backend, |b| {
        let talk = b.established();
        b.reply(&talk, Transport::Tcp(talk.reply()))
            .with(|ip| ip.ttl = 0)
            .bytes()
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
        "flow-options",
        "IP options in the middle of a live flow",
        Client,
        |b| {
            let request = Transport::Tcp(b.established().request());
            b.to_node(request)
                .with(|ip| ip.options = OPTIONS.to_vec())
                .bytes()
        },
    ),
    row("flow-options", "IP options in a reply", Backend, |b| {
        let talk = b.established();
        let reply = b.reply(&talk, Transport::Tcp(talk.reply()));
        reply.with(|ip| ip.options = OPTIONS.to_vec()).bytes()
    }),
    row(
        "flow-fragment",
        "the first part of a segment of a live flow",
        Client,
        |b| {
            let request = Tcp {
                payload: vec![1; 64],
                ..b.established().request()
            };
            b.to_node(Transport::Tcp(request))
                .with(|ip| ip.fragment = 0x2000)
                .bytes()
        },
    ),
    // Last, because the backend stays away: nothing after it may need the first app.
    row(
        "backend-gone",
        "a reply from a backend that was removed",
        Backend,
        |b| {
            let talk = b.established();
            let endpoint = format!("{}:{APP_PORT}", talk.backend);
            b.agent
                .ctl(&["backends", "remove", "web", &endpoint, "--now"])
                .ok();
            b.reply(&talk, Transport::Tcp(talk.reply())).bytes()
        },
    ),
];

/// Router alert, padded (RFC 2113).
const OPTIONS: [u8; 4] = [0x94, 4, 0, 0];

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

fn martian(bench: &Bench, source: [u8; 4]) -> Vec<u8> {
    let request = bench.to_node(syn(bench.client_port(), TCP_PORT));
    request
        .with(|ip| ip.source = Ipv4Addr::from(source))
        .bytes()
}

#[test]
fn each_frame_has_the_verdict_of_its_row_and_leaves_as_it_came() {
    let bench = Bench::new();
    for row in ROWS {
        let frame = (row.frame)(&bench);
        let outcome = bench.run(row.side, &frame);
        let action = if is_drop(row.verdict) {
            Action::Drop
        } else {
            Action::Pass
        };
        let found = (outcome.verdict.as_str(), outcome.action);
        assert_eq!(
            found,
            (row.verdict, action),
            "{}: {frame:02x?}",
            row.promise
        );
        assert_eq!(outcome.frame, frame, "{} changed the frame", row.promise);
    }
}
