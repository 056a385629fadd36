//! What is recorded of pools: what is refused, and what outlives what.

use kit::{Agent, Finished, Lab, eventually};

use super::{NODES, Pair, SETTLED, share};

/// Adds a share to the pool `web`.
fn added(agent: &Agent, id: &str, (public, translation): (&str, &str), nodes: &str) -> Finished {
    let words = ["pool", "share", "add", "web", id, "--public", public];
    agent.ctl(
        &[
            &words[..],
            &["--translation", translation, "--nodes", nodes],
        ]
        .concat(),
    )
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let lab = Lab::bridged();
    let agent = Agent::start(&lab);
    let node = "harbor_node_1";
    agent.ctl(&["pool", "create", "web"]).ok();
    let add = |id: &str, public: &str, translation: &str, nodes: &str| {
        added(&agent, id, (public, translation), nodes)
    };
    let refused = [
        (add("a", "192.0.2.1", "192.0.2.1", node), "twice"),
        (add("a", "127.0.0.1", "10.0.0.1", node), "cannot move"),
        (add("a", "192.0.2.1", "10.0.0.1", "other"), "does not share"),
        (agent.ctl(&["pool", "create", "web"]), "exists"),
        (agent.ctl(&["pool", "create", "none"]), "in no pool"),
        (agent.ctl(&["pool", "show", "other"]), "no pool"),
        (
            agent.ctl(&["ports", "create", "x", "--pool", "other"]),
            "no pool",
        ),
        (agent.ctl(&["pool", "ready", "a"]), "no share"),
        (agent.ctl(&["pool", "join", "web"]), "no shares yet"),
    ];
    for (refused, why) in refused {
        assert!(
            refused.code != 0 && refused.stderr.contains(why),
            "{why}: {refused:?}"
        );
    }
    assert_eq!(
        agent.ctl_json(&["pool", "show", "web"])["shares"][0],
        serde_json::Value::Null
    );
}

#[test]
fn what_others_have_or_use_is_refused_too() {
    let lab = Lab::bridged();
    let agent = Agent::start(&lab);
    let node = "harbor_node_1";
    agent.ctl(&["pool", "create", "web"]).ok();
    let add = |id: &str, public: &str, translation: &str, nodes: &str| {
        added(&agent, id, (public, translation), nodes)
    };
    add("a", "192.0.2.1", "10.0.0.1", node).ok();
    let taken = [
        (add("a", "192.0.2.2", "10.0.0.2", node), "exists"),
        (add("b", "192.0.2.2", "10.0.0.1", node), "has 10.0.0.1"),
        (agent.ctl(&["pool", "delete", "web"]), "has 1 share"),
        (agent.ctl(&["pool", "leave", "web"]), "the only one"),
    ];
    for (refused, why) in taken {
        assert!(
            refused.code != 0 && refused.stderr.contains(why),
            "{why}: {refused:?}"
        );
    }
    // An address that moves is no backend.
    let port = agent.ctl(&["ports", "create", "x", "--backend", "10.0.0.1:80"]);
    assert!(port.code != 0, "{port:?}");
    agent.ctl(&["ports", "create", "y", "--pool", "web"]).ok();
    agent
        .ctl(&["pool", "share", "remove", "web", "a", "--yes"])
        .ok();
    let kept = agent.ctl(&["pool", "delete", "web"]);
    assert!(
        kept.code != 0 && kept.stderr.contains("has 1 port"),
        "{kept:?}"
    );
    agent.ctl(&["ports", "set", "y", "pool=none"]).ok();
    agent.ctl(&["pool", "delete", "web"]).ok();
    assert!(agent.items(&["pool", "list"]).is_empty());
}

#[test]
fn a_pool_outlives_agents_and_a_registry_that_lost_everything() {
    let mut pair = Pair::start();
    pair.port("app");
    pair.redis.kill();
    let [one, two] = &mut pair.agents;
    one.kill();
    one.restart();
    assert_eq!(share(one)["id"], "a", "from its journal");
    pair.redis.restart();
    for agent in [one, two] {
        eventually(SETTLED, || {
            share(agent)["id"] == "a"
                && agent.ctl_json_whatever(&["status"])["registry"]["state"] == "ok"
        });
        assert_eq!(agent.ctl_json(&["ports", "show", "app"])["pool"], "web");
    }
    let pools = pair.redis.say(&["hlen", "{harbor:harbor}:pools"]).stdout;
    assert_eq!(pools, "1\n");
}

#[test]
fn a_journal_that_is_written_anew_has_the_pools_too() {
    let mut pair = Pair::start();
    let [one, _] = &mut pair.agents;
    let journal = one.folder().join("state/journal-harbor.redb");
    let aside = journal.with_extension("unreadable");
    std::fs::File::options()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(0)
        .unwrap();
    // Whatever is changed now finds it spoilt.
    one.create(&["app", "--pool", "web"]);
    eventually(SETTLED, || {
        aside.exists() && one.ctl_json_whatever(&["status"])["registry"]["state"] == "ok"
    });
    pair.redis.kill();
    one.kill();
    one.restart();
    assert_eq!(share(one)["id"], "a", "from its journal");
}

#[test]
fn a_lost_node_of_a_pool_takes_no_port_along() {
    let mut pair = Pair::start();
    pair.port("app");
    let [one, two] = &mut pair.agents;
    one.kill();
    eventually(SETTLED, || {
        two.ctl_json(&["node", "show", NODES[0]])["state"] == "away"
    });
    let gone = two.ctl_json(&["node", "detach", NODES[0], "--yes"]);
    assert_eq!(gone["services"], 0, "{gone}");
    let port = two.ctl_json(&["ports", "show", "app"]);
    assert_eq!(port["state"], "up", "{port}");
}

#[test]
fn a_document_takes_pools_along_with_their_ports_whole_or_not_at_all() {
    let lab = Lab::bridged();
    let agent = Agent::start(&lab);
    agent.ctl(&["pool", "create", "web"]).ok();
    added(&agent, "a", ("192.0.2.1", "10.0.0.1"), "harbor_node_1").ok();
    agent.create(&["y", "--pool", "web"]);
    let mut document = agent.ctl_json(&["state", "export"]);
    agent.ctl(&["ports", "delete", "y", "--yes"]).ok();
    agent
        .ctl(&["pool", "share", "remove", "web", "a", "--yes"])
        .ok();
    agent.ctl(&["pool", "delete", "web"]).ok();
    let file = lab.folder().join("state.json");
    let import = |document: &serde_json::Value| {
        std::fs::write(&file, document.to_string()).unwrap();
        agent.ctl(&["state", "import", file.to_str().unwrap()])
    };
    document["services"][0]["name"] = "not a name".into();
    assert!(import(&document).code != 0);
    assert!(agent.items(&["pool", "list"]).is_empty(), "not at all");
    document["services"][0]["name"] = "y".into();
    import(&document).ok();
    assert_eq!(share(&agent)["public"][0], "192.0.2.1");
    assert_eq!(agent.ctl_json(&["ports", "show", "y"])["pool"], "web");
}
