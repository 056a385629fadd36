//! What one client, and one port, may keep; and senders that are not where they say.

use std::{net::IpAddr, time::Duration};

use kit::{
    CLIENT_MAC, Config, NODE_MAC, V4, V6, eventually,
    frame::{Frame, Tcp, Transport, flag},
};

use super::{
    bench::{Bench, Conversation, Side, TCP_PORT, syn},
    limits::{ask, connect, drop, forward, opening, set},
};
use crate::scene::FAMILIES;

/// The reasons, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 3] = [
    ("client-quota", a_client_keeps_no_more_flows_than_one_may),
    (
        "flow-ceiling",
        a_port_keeps_no_more_flows_than_the_operator_allows,
    ),
    (
        "reverse-path",
        a_sender_that_is_reached_by_another_interface_opens_no_flow,
    ),
];

/// Ends a conversation from both sides.
fn close(bench: &Bench, talk: &Conversation) {
    let fin = flag::FIN | flag::ACK;
    for (side, frame) in [
        (Side::Client, bench.to_node(ending(talk.request(), fin))),
        (Side::Backend, bench.reply(talk, ending(talk.reply(), fin))),
    ] {
        bench.forward(side, &frame.bytes());
    }
}

fn ending(segment: Tcp, flags: u8) -> Transport {
    Transport::Tcp(Tcp { flags, ..segment })
}

#[test]
fn a_client_keeps_no_more_flows_than_one_may() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with("[limits]\nflows_per_client = 5\n"));
        set(&bench, "web", &["max_per_client=3"]);
        let talks: Vec<_> = (0..3).map(|_| bench.established()).collect();
        assert_eq!(opening(&bench, connect), drop("client-quota"));
        let request = Transport::Tcp(talks[0].request());
        bench.forward(Side::Client, &bench.to_node(request).bytes());
        assert_eq!(opening(&bench, ask), forward(), "another port");

        // What is closed is kept no longer, and neither is what one side has reset.
        close(&bench, &talks[0]);
        let again = bench.established();
        assert_eq!(opening(&bench, connect), drop("client-quota"));
        let reset = bench.to_node(ending(again.request(), flag::RST | flag::ACK));
        bench.forward(Side::Client, &reset.bytes());
        let again = bench.established();
        // A reset that the other side contradicts was none.
        let reset = bench.to_node(ending(again.request(), flag::RST | flag::ACK));
        bench.forward(Side::Client, &reset.bytes());
        let more = bench.reply(&again, Transport::Tcp(again.reply()));
        bench.forward(Side::Backend, &more.bytes());
        let alive = bench.to_node(Transport::Tcp(again.request()));
        bench.forward(Side::Client, &alive.bytes());
        assert_eq!(opening(&bench, connect), drop("client-quota"));

        // Half-open flows are nobody's yet: a forger could have begun them.
        set(&bench, "web", &["max_per_client=0"]);
        for _ in 0..20 {
            assert_eq!(opening(&bench, connect), forward());
        }
        // At all ports together.
        for _ in 0..2 {
            bench.established();
        }
        assert_eq!(opening(&bench, connect), drop("client-quota"));
        assert_eq!(opening(&bench, ask), drop("client-quota"));
        let counted = kept(&bench, "clients", |row| row["key"]["frontend"].is_null());
        assert_eq!(counted, 5);
        assert_eq!(kept(&bench, "totals", |_| true), 5);
        bench
            .agent
            .ctl(&["flows", "kill", "-p", "web", "--yes"])
            .ok();
        assert_eq!(kept(&bench, "totals", |_| true), 0);
        assert_eq!(opening(&bench, connect), forward());
    }
}

/// The sum of what is kept by the rows of a map.
fn kept(bench: &Bench, map: &str, counts: impl Fn(&serde_json::Value) -> bool) -> u64 {
    let rows = bench.agent.dump(map);
    rows.iter()
        .filter(|row| counts(row))
        .map(|row| row["value"]["kept"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_port_keeps_no_more_flows_than_the_operator_allows() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with("[limits]\nflows_per_port = 3\n"));
        set(&bench, "web", &["max_connections=1000"]);
        let mut talks: Vec<_> = (0..3).map(|_| bench.established()).collect();
        let is_full = |talks: &[Conversation]| {
            // What is silent makes room.
            for talk in talks {
                let more = bench.to_node(Transport::Tcp(talk.request()));
                bench.forward(Side::Client, &more.bytes());
            }
            assert_eq!(opening(&bench, connect), drop("flow-ceiling"));
        };
        is_full(&talks);
        assert_eq!(opening(&bench, ask), forward(), "another port");
        close(&bench, &talks.remove(2));
        talks.push(bench.established());
        is_full(&talks);
        let set = ["config", "set", "limits.flows_per_port", "4"];
        bench.agent.ctl(&set).ok();
        talks.push(bench.established());
        is_full(&talks);
    }
}

#[test]
fn a_sender_that_is_reached_by_another_interface_opens_no_flow() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let outside = bench.lab.client_side();
        // A network behind the app hosts, and an address that no route leads to.
        let (behind, nowhere): (IpAddr, IpAddr) = match family {
            V4 => ([198, 51, 100, 7].into(), [203, 0, 113, 7].into()),
            V6 => (
                [0x2001, 0xdb8, 7, 0, 0, 0, 0, 7].into(),
                [0x2001, 0xdb8, 8, 0, 0, 0, 0, 7].into(),
            ),
        };
        let gateway = bench.app(0);
        bench
            .lab
            .node
            .ip(&format!("route add {behind} via {gateway}"));
        let arrives = |from: IpAddr| {
            let syn = syn(bench.client_port(), TCP_PORT);
            let addresses = (from, bench.public());
            let frame = Frame::ip(NODE_MAC, CLIENT_MAC, addresses, syn);
            bench.run(Side::Client, &frame.bytes()).verdict
        };
        let inside = bench.app(1);
        let (yes, no) = ("forward", "reverse-path");
        // With rp_filter off, strict and loose, the policy of the default and the kernel's alone.
        let mut wanted = vec![
            ("connected", "0", [no, yes, yes]),
            ("system", "0", [yes, yes, yes]),
        ];
        if family == V4 {
            wanted.extend([
                ("connected", "1", [no, no, no]),
                ("connected", "2", [no, yes, no]),
                ("system", "1", [no, no, no]),
                ("system", "2", [yes, yes, no]),
            ]);
        }
        for (policy, filter, verdicts) in wanted {
            let sysctl = format!("net/ipv4/conf/{outside}/rp_filter");
            bench.lab.node.set(&sysctl, filter);
            let set = ["config", "set", "policy.reverse_path", policy];
            bench.agent.ctl(&set).ok();
            eventually(Duration::from_secs(20), || {
                [inside, behind, nowhere].map(arrives) == verdicts.map(str::to_owned)
            });
            assert_eq!(arrives(bench.client()), yes, "{policy} {filter}");
        }
    }
}
