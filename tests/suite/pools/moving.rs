//! An address moves, and its ports with it.

use kit::{Family, Netns, traffic};

use super::{NODES, Pair, SETTLED, share};
use kit::eventually;

/// A host that is cut off the network.
pub(super) fn cut(host: &Netns) {
    host.ip("link set eth0 down");
}

#[test]
fn a_cut_node_s_ports_are_served_by_the_other_in_both_families() {
    let pair = Pair::start();
    let port = pair.port("app");
    for family in Family::BOTH {
        let to = pair.at(family, port);
        let tally = traffic::connect(&pair.lab.client, to, 10);
        assert_eq!((tally.of("app1"), tally.of("app2")), (5, 5), "{tally:?}");
    }
    let holder = pair.holder();
    let other = 1 - holder;
    cut(&pair.hosts[holder]);
    for family in Family::BOTH {
        let to = pair.at(family, port);
        println!("{family:?}: no new connection for {:.2?}", pair.gap(to));
        let tally = traffic::connect(&pair.lab.client, to, 20);
        assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
        let tally = traffic::ask(&pair.lab.client, to, 20);
        assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
    }
    let agent = &pair.agents[other];
    eventually(SETTLED, || share(agent)["holders"][0] == NODES[other]);
    // Backends see an address that moves with the share, whichever node has it.
    let flows = agent.items(&["flows", "list", "-p", "app"]);
    assert!(!flows.is_empty());
    let moves = Family::BOTH.map(|family| pair.lab.client_host(family, 61).to_string());
    for flow in &flows {
        let source = flow["source"].as_str().unwrap();
        assert!(
            moves
                .iter()
                .any(|address| source.contains(address.as_str())),
            "{flow}"
        );
    }
}

#[test]
fn an_address_moves_without_agents_and_without_a_registry() {
    let mut pair = Pair::start();
    let port = pair.port("app");
    let to = pair.at(Family::V4, port);
    assert!(traffic::connect(&pair.lab.client, to, 4).errors.is_empty());
    let holder = pair.holder();
    pair.redis.kill();
    pair.agents[1 - holder].kill();
    cut(&pair.hosts[holder]);
    println!("no new connection for {:.2?}", pair.gap(to));
    let tally = traffic::connect(&pair.lab.client, to, 20);
    assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
}

#[test]
fn a_share_is_moved_by_a_word_and_stays_where_it_was_moved() {
    let pair = Pair::start();
    let port = pair.port("app");
    let to = pair.at(Family::V4, port);
    let other = 1 - pair.holder();
    let agent = &pair.agents[0];
    let words = ["pool", "move", "a", "--to", NODES[other]];
    eventually(SETTLED, || agent.ctl(&words).code == 0);
    eventually(SETTLED, || pair.is_well_at(other));
    assert!(traffic::connect(&pair.lab.client, to, 10).errors.is_empty());
    let left = &pair.agents[1 - other];
    assert_eq!(left.ctl(&["pool", "ready", "a"]).code, 7);
    assert_eq!(pair.agents[other].ctl(&["pool", "ready", "a"]).code, 0);
    // Somebody who is not to be found gets nothing.
    let refused = agent.ctl(&["pool", "move", "a", "--to", "three"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("one, two"),
        "{refused:?}"
    );
}

#[test]
fn a_drained_node_gives_its_shares_to_one_that_is_ready() {
    let pair = Pair::start();
    let port = pair.port("app");
    let to = pair.at(Family::V4, port);
    let holder = pair.holder();
    let agent = &pair.agents[0];
    agent.ctl(&["node", "drain", NODES[holder]]).ok();
    eventually(SETTLED, || pair.is_well_at(1 - holder));
    assert!(traffic::connect(&pair.lab.client, to, 10).errors.is_empty());
    agent.ctl(&["node", "resume", NODES[holder]]).ok();
    eventually(SETTLED, || {
        pair.agents[holder].ctl(&["pool", "ready", "a"]).code == 0
    });
    assert!(pair.has_share(1 - holder), "it stays where it is");
}
