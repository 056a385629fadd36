//! Ways that the program cannot vouch for: the packet is the proxy's.

use std::time::Duration;

use kit::{V4, eventually};

use super::bench::{Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};
use crate::scene::FAMILIES;

/// The reasons, and the tests that show them.
pub(super) const TESTS: [(&str, fn()); 1] = [(
    "unrouted",
    what_a_rule_makes_of_a_protocol_is_left_to_the_proxy_while_the_rule_stands,
)];

#[test]
fn what_a_rule_makes_of_a_protocol_is_left_to_the_proxy_while_the_rule_stands() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let ip = if family == V4 { "-4" } else { "-6" };
        let opening = || {
            let frames = [
                syn(bench.client_port(), TCP_PORT),
                datagram(bench.client_port(), UDP_PORT, b"x"),
            ];
            frames.map(|frame| {
                bench
                    .run(Side::Client, &bench.to_node(frame).bytes())
                    .verdict
            })
        };
        let rule = |verb: &str| {
            let mut command = bench.lab.node.command("ip");
            command.args([
                ip, "rule", verb, "pref", "100", "ipproto", "tcp", "lookup", "main",
            ]);
            kit::finish(&mut command).ok();
        };
        assert_eq!(opening(), ["forward", "forward"]);
        rule("add");
        eventually(Duration::from_secs(5), || {
            opening() == ["unrouted", "unrouted"]
        });
        rule("del");
        eventually(Duration::from_secs(5), || {
            opening() == ["forward", "forward"]
        });
    }
}
