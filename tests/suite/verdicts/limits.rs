//! Reasons that a port's own settings, or a backend's failure, bring about: each by a test of its own,
//! over both families.

use std::{net::SocketAddr, time::Duration};

use kit::{
    V4, V6, eventually,
    frame::{Icmp, Tcp, Transport, flag, parse},
    verdict::Action,
};

use super::{
    bench::{APP_PORT, Bench, Side, TCP_PORT, UDP_PORT, datagram, syn},
    rows::is_answer,
};
use crate::scene::FAMILIES;

/// The reasons, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 11] = [
    (
        "backend-gone",
        a_packet_of_a_flow_whose_backend_is_gone_is_answered_with_a_reset,
    ),
    ("denied", a_denied_network_opens_no_flow),
    ("new-flow-limit", new_flows_are_limited_by_the_second),
    ("flow-quota", flows_at_once_are_limited),
    ("packet-limit", packets_are_limited_by_the_second),
    ("byte-limit", bytes_are_limited_by_the_second),
    (
        "reply-cap",
        a_backend_may_not_answer_one_datagram_with_a_flood,
    ),
    (
        "other-family",
        a_client_of_the_other_family_is_left_to_the_stack,
    ),
    (
        "too-big",
        a_packet_that_does_not_fit_is_answered_with_the_size_that_does,
    ),
    (
        "bad-checksum",
        a_packet_that_would_open_a_flow_and_is_broken_is_dropped,
    ),
    (
        "backend-refused",
        a_refusal_is_kept_from_the_client_while_another_backend_lives,
    ),
];

pub(super) fn set(bench: &Bench, port: &str, settings: &[&str]) {
    bench
        .agent
        .ctl(&[&["ports", "set", port], settings].concat())
        .ok();
}

/// The verdict on a new client's first packet.
pub(super) fn opening(bench: &Bench, transport: fn(u16) -> Transport) -> (String, Action) {
    let frame = bench.to_node(transport(bench.client_port())).bytes();
    let outcome = bench.run(Side::Client, &frame);
    (outcome.verdict, outcome.action)
}

pub(super) fn connect(port: u16) -> Transport {
    syn(port, TCP_PORT)
}

pub(super) fn ask(port: u16) -> Transport {
    datagram(port, UDP_PORT, b"?")
}

pub(super) fn drop(reason: &str) -> (String, Action) {
    (reason.into(), Action::Drop)
}

pub(super) fn forward() -> (String, Action) {
    ("forward".into(), Action::Redirect)
}

#[test]
fn a_denied_network_opens_no_flow() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let (inside, outside) = match family {
            V4 => ("10.77.1.0/24", "192.0.2.0/24"),
            V6 => ("fd77:1::/64", "2001:db8::/32"),
        };
        for (port, transport) in [("web", connect as fn(u16) -> _), ("udp-game", ask)] {
            set(&bench, port, &[&format!("denied_cidrs={inside}")]);
            assert_eq!(opening(&bench, transport), drop("denied"));
            set(
                &bench,
                port,
                &["denied_cidrs=none", &format!("allowed_cidrs={outside}")],
            );
            assert_eq!(
                opening(&bench, transport),
                drop("denied"),
                "not on the list"
            );
            set(&bench, port, &[&format!("allowed_cidrs={inside}")]);
            assert_eq!(opening(&bench, transport), forward());
            let one = format!("denied_cidrs={}", bench.client());
            set(&bench, port, &[&one]);
            assert_eq!(
                opening(&bench, transport),
                drop("denied"),
                "the longer prefix decides"
            );
            set(&bench, port, &["denied_cidrs=none", "allowed_cidrs=none"]);
            assert_eq!(opening(&bench, transport), forward());
        }
    }
}

#[test]
fn new_flows_are_limited_by_the_second() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "web", &["new_per_second=10"]);
        let verdicts: Vec<_> = (0..40).map(|_| opening(&bench, connect)).collect();
        let opened = verdicts.iter().filter(|v| **v == forward()).count();
        assert!((10..30).contains(&opened), "{verdicts:?}");
        assert_eq!(verdicts.last(), Some(&drop("new-flow-limit")));
        assert_eq!(
            opening(&bench, ask),
            forward(),
            "another port is not touched"
        );
    }
}

#[test]
fn flows_at_once_are_limited() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "web", &["max_connections=3"]);
        let talks: Vec<_> = (0..3).map(|_| bench.established()).collect();
        assert_eq!(opening(&bench, connect), drop("flow-quota"));
        let request = Transport::Tcp(talks[0].request());
        bench.forward(Side::Client, &bench.to_node(request).bytes());
        set(&bench, "web", &["max_connections=4"]);
        assert_eq!(opening(&bench, connect), forward());
        assert_eq!(opening(&bench, connect), drop("flow-quota"));
    }
}

/// The verdicts on many packets of one live flow.
fn flood(bench: &Bench, count: usize, payload: usize) -> Vec<String> {
    let request = Tcp {
        payload: vec![7; payload],
        ..bench.established().request()
    };
    let frame = bench.to_node(Transport::Tcp(request)).bytes();
    let outcomes = bench.run_all(Side::Client, &vec![frame; count]);
    outcomes
        .into_iter()
        .map(|outcome| outcome.verdict)
        .collect()
}

#[test]
fn packets_are_limited_by_the_second() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "web", &["packets_per_second=20"]);
        let verdicts = flood(&bench, 100, 10);
        let passed = verdicts.iter().filter(|v| *v == "forward").count();
        assert!((10..60).contains(&passed), "{passed}");
        assert_eq!(verdicts.last().unwrap(), "packet-limit");
        set(&bench, "web", &["packets_per_second=none"]);
        assert!(flood(&bench, 100, 10).iter().all(|v| v == "forward"));
    }
}

#[test]
fn bytes_are_limited_by_the_second() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "web", &["bytes_per_second=10000"]);
        let verdicts = flood(&bench, 60, 1000);
        let passed = verdicts.iter().filter(|v| *v == "forward").count();
        assert!((5..30).contains(&passed), "{passed}");
        assert_eq!(verdicts.last().unwrap(), "byte-limit");
    }
}

#[test]
fn a_packet_dearer_than_a_second_is_worked_off_in_full() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "udp-game", &["bytes_per_second=500"]);
        let question = datagram(bench.client_port(), UDP_PORT, &[7; 1200]);
        let frame = bench.to_node(question).bytes();
        bench.forward(Side::Client, &frame);
        let passed = std::time::Instant::now();
        eventually(Duration::from_secs(10), || {
            bench.run(Side::Client, &frame).verdict == "forward"
        });
        let waited = passed.elapsed().as_secs_f64();
        assert!(waited > 2.0, "1,200 bytes of 500 a second: {waited}");
    }
}

#[test]
fn a_packet_that_would_open_a_flow_and_is_broken_is_dropped() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        for transport in [connect, ask] {
            let whole = bench.to_node(transport(bench.client_port())).bytes();
            let mut broken = whole.clone();
            *broken.last_mut().unwrap() ^= 1;
            let outcome = bench.run(Side::Client, &broken);
            assert_eq!(outcome.verdict, "bad-checksum");
            assert_eq!((outcome.action, outcome.frame), (Action::Drop, broken));
            bench.forward(Side::Client, &whole);
        }
    }
}

#[test]
fn a_backend_may_not_answer_one_datagram_with_a_flood() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        set(&bench, "udp-game", &["reply_cap_bytes=1500"]);
        let question = bench.to_node(ask(bench.client_port())).bytes();
        let asked = bench.forward(Side::Client, &question).transport.source;
        let answer = bench
            .app_frame(datagram(APP_PORT, asked, &[1; 1000]))
            .bytes();
        assert_eq!(bench.run(Side::Backend, &answer).verdict, "forward");
        assert_eq!(bench.run(Side::Backend, &answer).verdict, "reply-cap");
        bench.forward(Side::Client, &question);
        for _ in 0..5 {
            assert_eq!(bench.run(Side::Backend, &answer).verdict, "forward");
        }
    }
}

#[test]
fn a_client_of_the_other_family_is_left_to_the_stack() {
    for family in FAMILIES {
        let mut stranger = Bench::plain(family);
        stranger.family = if family == V4 { V6 } else { V4 };
        assert_eq!(
            opening(&stranger, connect),
            ("other-family".into(), Action::Pass)
        );
        assert_eq!(
            opening(&stranger, ask),
            ("other-family".into(), Action::Pass)
        );
    }
}

#[test]
fn a_packet_that_does_not_fit_is_answered_with_the_size_that_does() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        // The link itself must take the frames that the client sends; its route does not.
        let route = match family {
            V4 => "10.77.2.0/24 dev eth1 proto kernel scope link src 10.77.2.1",
            V6 => "fd77:2::/64 dev eth1 proto kernel metric 256",
        };
        bench.lab.node.ip(&format!("route change {route} mtu 1300"));
        let payload = |length| Tcp {
            payload: vec![1; length],
            ..bench.established().request()
        };
        let frame = bench.to_node(Transport::Tcp(payload(1400))).bytes();
        eventually(Duration::from_secs(10), || {
            bench.run(Side::Client, &frame).verdict == "too-big"
        });
        let outcome = bench.run(Side::Client, &frame);
        assert_eq!(outcome.action, Action::Answer);
        let answer = is_answer(&frame, &outcome.frame);
        let told = &answer.transport.rest;
        let kind = if family == V4 { [3, 4] } else { [2, 0] };
        let mtu = u16::from_be_bytes([told[6], told[7]]);
        assert_eq!((&told[..2], mtu), (&kind[..], 1300), "{answer:?}");
        let frame = bench.to_node(Transport::Tcp(payload(1200))).bytes();
        bench.forward(Side::Client, &frame);
    }
}

#[test]
fn a_refusal_is_kept_from_the_client_while_another_backend_lives() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let asked = bench.to_node(connect(bench.client_port())).bytes();
        let first = bench.forward(Side::Client, &asked);
        let from = |host, reset| bench.host_frame(host, Transport::Tcp(reset)).bytes();
        let forged = Tcp {
            acknowledgement: 77,
            ..refusal(first.transport.source)
        };
        let forged = from(first.destination, forged);
        assert_eq!(
            bench.run(Side::Backend, &forged).verdict,
            "forward",
            "not an answer to it"
        );
        let refused = from(first.destination, refusal(first.transport.source));
        assert_eq!(
            bench.run(Side::Backend, &refused).verdict,
            "backend-refused"
        );
        // The client asks again, and comes to the other backend.
        let second = bench.forward(Side::Client, &asked);
        assert_ne!(second.destination, first.destination);
        // What one has met is no other's business.
        let others = [(); 2].map(|()| {
            let frame = bench.to_node(connect(bench.client_port())).bytes();
            bench.forward(Side::Client, &frame).destination
        });
        assert!(others.contains(&first.destination), "{others:?}");
        // The only backend's refusal is the client's.
        let host = SocketAddr::new(first.destination, APP_PORT).to_string();
        bench
            .agent
            .ctl(&["backends", "remove", "web", &host, "--now"])
            .ok();
        let refused = from(second.destination, refusal(second.transport.source));
        let outcome = bench.run(Side::Backend, &refused);
        assert_eq!(
            (outcome.verdict.as_str(), outcome.action),
            ("forward", Action::Redirect)
        );
        assert_eq!(parse(&outcome.frame).unwrap().destination, bench.client());

        let question = bench.to_node(ask(bench.client_port())).bytes();
        let sent = bench.run(Side::Client, &question).frame;
        let quoted = &sent[14..];
        let error = Transport::Icmp(Icmp::no_port(family, quoted));
        let error = bench.app_frame(error).bytes();
        assert_eq!(bench.run(Side::Backend, &error).verdict, "backend-refused");
        assert_eq!(
            bench.forward(Side::Client, &question).destination,
            bench.app(1)
        );
    }
}

/// A backend's reset that answers a SYN with sequence number 1000.
fn refusal(source_port: u16) -> Tcp {
    Tcp {
        source: APP_PORT,
        destination: source_port,
        sequence: 0,
        acknowledgement: 1001,
        flags: flag::RST | flag::ACK,
        options: Vec::new(),
        payload: Vec::new(),
    }
}

#[test]
fn a_packet_of_a_flow_whose_backend_is_gone_is_answered_with_a_reset() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        for side in [Side::Client, Side::Backend] {
            // The agent's sweep may be there first, which ends the flow as well: then once more.
            kit::until(Duration::from_secs(20), || {
                let talk = bench.established();
                let backend = SocketAddr::new(talk.backend, APP_PORT).to_string();
                let change = |verb, last: &[&str]| {
                    let command = [&["backends", verb, "web", &backend], last].concat();
                    bench.agent.ctl(&command).ok();
                };
                change("remove", &["--now"]);
                let frame = match side {
                    Side::Client => bench.to_node(Transport::Tcp(talk.request())),
                    Side::Backend => bench.reply(&talk, Transport::Tcp(talk.reply())),
                };
                let frame = frame.bytes();
                let outcome = bench.run(side, &frame);
                change("add", &[]);
                if outcome.verdict != "backend-gone" {
                    return None;
                }
                assert_eq!(outcome.action, Action::Answer);
                let answer = is_answer(&frame, &outcome.frame);
                assert_eq!(
                    answer.transport.rest[9] & flag::RST,
                    flag::RST,
                    "{answer:?}"
                );
                Some(())
            });
        }
    }
}
