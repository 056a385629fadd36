//! Packets of a share of a pool that another node has, or that has just come here.

use std::time::Duration;

use kit::{
    APP_MACS, CLIENT_MAC, NODE_BACKEND_MAC, NODE_MAC, eventually,
    frame::{Frame, Transport, flag},
};

use super::{
    bench::{Bench, Side, TCP_PORT, UDP_PORT, datagram, segment, syn},
    limits::{drop, forward},
};
use crate::scene::{APP_PORT, FAMILIES};

/// The reasons, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 1] = [(
    "held",
    what_continues_an_unknown_flow_of_a_share_is_dropped_and_what_begins_is_served,
)];

#[test]
fn what_continues_an_unknown_flow_of_a_share_is_dropped_and_what_begins_is_served() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let (public, translation) = (
            bench.lab.client_host(family, 51),
            bench.lab.backend_host(family, 61),
        );
        bench.agent.ctl(&["pool", "create", "p"]).ok();
        let words = ["pool", "share", "add", "p", "a", "--nodes", "harbor_node_1"];
        let (public_text, translation_text) = (public.to_string(), translation.to_string());
        let more = ["--public", &public_text, "--translation", &translation_text];
        bench.agent.ctl(&[&words[..], &more[..]].concat()).ok();
        let client = |transport: Transport| {
            let addresses = (bench.client(), public);
            let frame = Frame::ip(NODE_MAC, CLIENT_MAC, addresses, transport);
            bench.run(Side::Client, &frame.bytes())
        };
        let said = |transport| {
            let outcome = client(transport);
            (outcome.verdict, outcome.action)
        };
        let port = || bench.client_port();
        // The host does not have the addresses, as the agent says: another node may.
        assert_eq!(said(segment(port(), TCP_PORT, flag::ACK)), drop("held"));
        assert_eq!(said(segment(port(), TCP_PORT, flag::RST)), drop("held"));
        assert_eq!(said(syn(port(), TCP_PORT)), drop("held"));
        assert_eq!(said(datagram(port(), UDP_PORT, b"x")), drop("held"));
        let backend = |number: u16| {
            let addresses = (bench.app(0), translation);
            let answer = segment(APP_PORT, number, flag::SYN | flag::ACK);
            let frame = Frame::ip(NODE_BACKEND_MAC, APP_MACS[0], addresses, answer);
            let outcome = bench.run(Side::Backend, &frame.bytes());
            (outcome.verdict, outcome.action)
        };
        assert_eq!(backend(20_000), drop("held"));
        // Without an agent that says so whatever begins is served.
        bench.agent.freeze();
        eventually(Duration::from_secs(5), || {
            said(syn(port(), TCP_PORT)) == forward()
        });
        assert_eq!(said(datagram(port(), UDP_PORT, b"x")), forward());
        assert_eq!(said(segment(port(), TCP_PORT, flag::ACK)), drop("held"));
        // What backends see of a new flow is the share's own.
        let opened = client(syn(port(), TCP_PORT));
        let seen = kit::frame::parse(&opened.frame).unwrap();
        assert_eq!(seen.source, translation);
    }
}
