//! Reasons that show only when something has run out: each by a node that has little of it.

use kit::{Config, verdict::Action};

use super::bench::{Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};

/// The reasons shown here, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 2] = [
    (
        "flows-full",
        a_full_flow_table_refuses_new_flows_and_keeps_the_old,
    ),
    (
        "source-ports",
        a_backend_without_a_free_source_port_takes_no_more_flows,
    ),
];

#[test]
fn a_full_flow_table_refuses_new_flows_and_keeps_the_old() {
    let bench = Bench::with(&Config::with("[datapath]\nflows = 1024\n"));
    let frames: Vec<Vec<u8>> = (0..1200)
        .map(|_| {
            bench
                .to_node(datagram(bench.client_port(), UDP_PORT, b"fill"))
                .bytes()
        })
        .collect();
    let outcomes = bench.run_all(Side::Client, &frames);
    let forwarded = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == "forward")
        .count();
    assert_eq!(forwarded, 1024);
    for (frame, outcome) in frames.iter().zip(&outcomes).skip(1024) {
        assert_eq!(
            (outcome.verdict.as_str(), outcome.action),
            ("flows-full", Action::Drop)
        );
        assert_eq!(outcome.frame, *frame);
    }
    for (frame, before) in frames.iter().zip(&outcomes).take(1024) {
        assert_eq!(
            bench.run(Side::Client, frame),
            *before,
            "a flow that was there goes on"
        );
    }
    assert_eq!(
        bench.agent.items(&["flows", "list"]).len(),
        1024,
        "never half a flow"
    );
}

#[test]
fn a_backend_without_a_free_source_port_takes_no_more_flows() {
    let bench = Bench::with(&Config::with(
        "[datapath]\nsource_ports = \"20000-20015\"\n",
    ));
    let frames: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            bench
                .to_node(datagram(bench.client_port(), UDP_PORT, b"fill"))
                .bytes()
        })
        .collect();
    let outcomes = bench.run_all(Side::Client, &frames);
    let forwarded = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == "forward")
        .count();
    // 32 random draws of 16 find the last free one nearly always; the rest of the 200 fill it.
    assert_eq!(forwarded, 16);
    assert_eq!(outcomes.last().unwrap().verdict, "source-ports");
    // Another backend, and another protocol, have source ports of their own.
    let frame = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
    assert_eq!(bench.run(Side::Client, &frame).verdict, "forward");
}
