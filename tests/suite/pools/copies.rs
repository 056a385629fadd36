//! Flows go on at another node.

use kit::{Agent, Family, eventually, traffic};

use super::{Pair, SETTLED, moving::cut, share};

/// Connections of each family.
const LIVE: usize = 10;

/// Whether a node has copies of so many flows.
pub(super) fn has_copies(agent: &Agent, flows: u64) -> bool {
    agent.ctl_json(&["flows", "count", "--port", "app"])["flows"]
        .as_u64()
        .is_some_and(|count| count >= flows)
}

#[test]
fn connections_go_on_where_the_address_moves_to() {
    let pair = Pair::start();
    let port = pair.port("app");
    let holder = pair.holder();
    let other = 1 - holder;
    eventually(SETTLED, || {
        share(&pair.agents[holder])["copies"][0]["full"] == true
    });
    let live = Family::BOTH
        .map(|family| traffic::Live::open(&pair.lab.client, pair.at(family, port), LIVE));
    let askers = Family::BOTH.map(|family| {
        let asker = traffic::Asker::new(&pair.lab.client, family);
        let name = asker.ask(pair.at(family, port), b"first").unwrap();
        asker.ask(pair.at(family, port), b"second").unwrap();
        (asker, name)
    });
    let told = 2 * LIVE as u64 + 2;
    eventually(SETTLED, || has_copies(&pair.agents[other], told));
    println!("{}", share(&pair.agents[holder])["copies"]);
    cut(&pair.hosts[holder]);
    for live in &live {
        live.progress();
    }
    for (family, (asker, name)) in Family::BOTH.into_iter().zip(&askers) {
        let again = asker.ask(pair.at(family, port), b"third").unwrap();
        assert_eq!(again, *name, "another backend answers the same flow");
    }
    for live in live {
        let tally = live.finish();
        assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
    }
}

#[test]
fn connections_go_on_without_agents_and_without_a_registry() {
    let mut pair = Pair::start();
    let port = pair.port("app");
    let holder = pair.holder();
    let live = traffic::Live::open(&pair.lab.client, pair.at(Family::V4, port), LIVE);
    eventually(SETTLED, || {
        has_copies(&pair.agents[1 - holder], LIVE as u64)
    });
    pair.redis.kill();
    pair.agents[1 - holder].kill();
    pair.agents[holder].kill();
    cut(&pair.hosts[holder]);
    live.progress();
    let tally = live.finish();
    assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
}

#[test]
fn connections_go_on_when_a_share_is_moved_and_moved_back() {
    let pair = Pair::start();
    let port = pair.port("app");
    let to = pair.at(Family::V4, port);
    let live = traffic::Live::open(&pair.lab.client, to, LIVE);
    for _ in 0..2 {
        let holder = pair.holder();
        let other = 1 - holder;
        eventually(SETTLED, || {
            share(&pair.agents[holder])["copies"][0]["full"] == true
                && has_copies(&pair.agents[other], LIVE as u64)
        });
        let words = ["pool", "move", "a", "--to", super::NODES[other]];
        eventually(SETTLED, || pair.agents[0].ctl(&words).code == 0);
        eventually(SETTLED, || pair.is_well_at(other));
        live.progress();
        assert!(traffic::connect(&pair.lab.client, to, 10).errors.is_empty());
    }
    let tally = live.finish();
    assert_eq!(tally.errors, Vec::<String>::new(), "{tally:?}");
}

#[test]
fn a_peer_that_cannot_be_told_is_named() {
    let mut pair = Pair::start();
    let holder = pair.holder();
    pair.agents[1 - holder].kill();
    eventually(SETTLED, || {
        let shown = share(&pair.agents[holder]);
        let problem = shown["problem"].as_str().unwrap_or_default();
        problem.contains("no other node is ready") && !shown["copies"][0]["problem"].is_null()
    });
    pair.agents[1 - holder].restart();
    eventually(SETTLED, || pair.is_well());
}
