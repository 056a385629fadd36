//! A ruleset as nft 1.0.6 prints it; the chain DOCKER as iptables-nft makes one.

use super::*;
use crate::model::Protocol::{Tcp, Udp};

fn forwards() -> Forwards {
    Forwards::of(serde_json::from_str(include_str!("ruleset.json")).unwrap())
}

#[test]
fn every_way_to_name_a_number_is_read() {
    let forwards = forwards();
    let is_held = |protocol, port| forwards.rule(protocol, port).is_some();
    assert_eq!(forwards.rule(Tcp, 35_500), Some("ip nat pre handle 2"));
    for (protocol, port, how) in [
        (Udp, 35_501, "an element of a set"),
        (Udp, 35_511, "inside a range of a set"),
        (Tcp, 35_605, "the end of a range"),
        (Tcp, 35_700, "a key of a map"),
        (Tcp, 35_800, "compared before a jump"),
        (Tcp, 35_900, "of either protocol"),
        (Udp, 35_900, "of either protocol"),
        (Tcp, 36_001, "an element of a named set"),
        (Udp, 36_100, "a key with its protocol of a map of verdicts"),
        (Tcp, 36_200, "by iptables"),
    ] {
        assert!(is_held(protocol, port), "{port}/{protocol}: {how}");
    }
}

#[test]
fn what_no_rule_names_or_forwards_is_free() {
    let forwards = forwards();
    for (protocol, port, why) in [
        (Udp, 35_500, "the other protocol"),
        (Tcp, 35_501, "the other protocol"),
        (Udp, 35_509, "beside the range"),
        (Tcp, 35_777, "accepted"),
        (Tcp, 35_778, "in a chain that nobody enters"),
        (Tcp, 36_100, "the other protocol"),
        (Tcp, 40_000, "named by no rule"),
        (Udp, 22, "named by no rule"),
    ] {
        assert_eq!(
            forwards.rule(protocol, port),
            None,
            "{port}/{protocol}: {why}"
        );
    }
}

#[test]
fn a_maze_and_nonsense_come_to_an_end() {
    let rule = |chain: &str, target: &str| {
        serde_json::json!({"rule": {"family": "ip", "table": "t", "chain": chain, "handle": 1,
            "expr": [{"jump": {"target": target}}, {"jump": {"target": target}}]}})
    };
    let base = serde_json::json!({"chain": {"family": "ip", "table": "t", "name": "a",
        "type": "nat", "hook": "prerouting"}});
    let maze = serde_json::json!({"nftables": [base, rule("a", "b"), rule("b", "a")]});
    assert_eq!(Forwards::of(maze).0, []);
    for text in [
        "null",
        "[]",
        r#"{"nftables": [1, {"rule": 7}, {"set": {"elem": {}}}]}"#,
    ] {
        assert_eq!(
            Forwards::of(serde_json::from_str(text).unwrap()).0,
            [],
            "{text}"
        );
    }
}
