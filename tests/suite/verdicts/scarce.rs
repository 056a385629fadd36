//! Reasons that show only when something has run out, or in frames that test_run does not take: each
//! by a test of its own.

use kit::{Config, frame::Transport, verdict::Action};

use super::{
    bench::{Bench, Side, TCP_PORT, UDP_PORT, datagram, syn},
    wire,
};

/// The reasons, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 3] = [
    (
        "flows-full",
        a_full_flow_table_refuses_new_flows_and_keeps_the_old,
    ),
    (
        "source-ports",
        a_backend_without_a_free_source_port_takes_no_more_flows,
    ),
    (
        "truncated",
        wire::a_frame_without_a_whole_ip_header_is_counted_and_passed,
    ),
];

#[test]
fn a_full_flow_table_refuses_new_flows_and_keeps_the_old() {
    const FLOWS: usize = 1024;
    let bench = Bench::with(&Config::with(
        "[datapath]\nflows = 1024\n[limits]\nflows_per_port = 4096\nflows_per_client = 4096\n",
    ));
    let talks: Vec<_> = (0..FLOWS)
        .map(|_| {
            let talk = bench.established();
            // A flow that has carried nothing would make room.
            let request = Transport::Tcp(talk.request());
            bench.forward(Side::Client, &bench.to_node(request).bytes());
            talk
        })
        .collect();
    for _ in 0..100 {
        for transport in [
            syn(bench.client_port(), TCP_PORT),
            datagram(bench.client_port(), UDP_PORT, b"?"),
        ] {
            let frame = bench.to_node(transport).bytes();
            let outcome = bench.run(Side::Client, &frame);
            assert_eq!(
                (outcome.verdict.as_str(), outcome.action),
                ("flows-full", Action::Drop)
            );
            assert_eq!(outcome.frame, frame);
        }
    }
    for talk in &talks {
        let request = bench.to_node(Transport::Tcp(talk.request())).bytes();
        let seen = bench.forward(Side::Client, &request);
        assert_eq!(
            (seen.destination, seen.transport.source),
            (talk.backend, talk.source_port)
        );
    }
    assert_eq!(
        bench.agent.items(&["flows", "list"]).len(),
        FLOWS,
        "never half a flow"
    );
}

#[test]
fn a_backend_without_a_free_source_port_takes_no_more_flows() {
    const RANGE: usize = 1024;
    let bench = Bench::with(&Config::with(
        "[datapath]\nsource_ports = \"20000-21023\"\n",
    ));
    // Two backends with a range each. 32 draws miss the last free ones: the range need not fill up.
    let mut talks = Vec::new();
    let refused = (0..4 * RANGE).find_map(|_| {
        let frame = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
        let outcome = bench.run(Side::Client, &frame);
        if outcome.verdict != "forward" {
            return Some(outcome);
        }
        talks.push(bench.complete(&frame, &outcome.frame));
        None
    });
    let outcome = refused.unwrap_or_else(|| panic!("{} flows to two backends", talks.len()));
    assert_eq!(
        (outcome.verdict.as_str(), outcome.action),
        ("source-ports", Action::Answer),
        "the client is told at once"
    );
    assert!(
        (RANGE..=2 * RANGE).contains(&talks.len()),
        "{} flows",
        talks.len()
    );
    // Another protocol has source ports of its own.
    let frame = bench
        .to_node(datagram(bench.client_port(), UDP_PORT, b"?"))
        .bytes();
    assert_eq!(bench.run(Side::Client, &frame).verdict, "forward");
}
