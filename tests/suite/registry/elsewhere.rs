//! What a node says of ports that another node serves: what it does not see it does not assert.

use std::time::Duration;

use kit::{Config, Lab, V4, eventually, traffic};

use super::{other, redis_of};
use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_node_asserts_nothing_of_backends_behind_another_node() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let scene = Scene::on(lab, &Config::with(&redis.config("one")));
    let two = other(&scene.lab, &redis.config("two"), "two");
    // Nobody listens there: the kernel of whoever serves it is told so, and nobody else's.
    let dead = format!("{}:9", scene.lab.app(V4, 0));
    scene
        .agent
        .create(&["web", "--port", "35000", "--backend", &dead]);
    let at = scene.at(35_000);
    eventually(SOON, || {
        assert_eq!(traffic::connect(&scene.lab.client, at, 1).errors.len(), 1);
        scene.agent.ctl_json(&["ports", "show", "web"])["state"] == "down"
    });
    eventually(SOON, || two.items(&["ports", "list"]).len() == 1);
    let port = two.ctl_json(&["ports", "show", "web"]);
    assert_eq!(port["state"], "unknown", "{port}");
    assert_eq!(port["reason"], "node one serves it", "{port}");
    assert!(port["backends"]["up"].is_null(), "{port}");
    assert_eq!(port["backends"]["total"], 1, "{port}");
    let [backend] = &two.items(&["backends", "list", "web"])[..] else {
        panic!("one backend")
    };
    assert_eq!(backend["state"], "unknown", "{backend}");
    assert_eq!(backend["reason"], "node one serves it", "{backend}");
    assert!(backend["flows"].is_null(), "{backend}");
    let row = |noun: &str| -> String {
        let listed = two.ctl(&[noun, "list", "-o", "wide"]).ok().stdout;
        let row = listed.lines().find(|line| line.contains("35000"));
        row.unwrap_or(&listed).to_owned()
    };
    let (port, backend) = (row("ports"), row("backends"));
    assert!(port.contains("?/1") && !port.contains(" up "), "{port}");
    assert!(
        backend.contains("unknown") && !backend.contains(" up "),
        "{backend}"
    );
    // Nor how many flows it has; those of all ports are this node's.
    for verb in [
        &["flows", "count", "-p", "web"][..],
        &["flows", "list", "-p", "web"],
        &["flows", "kill", "-p", "web", "--yes"],
    ] {
        let refused = two.ctl(verb);
        assert_eq!(refused.code, 7, "{}", refused.stdout);
        assert!(
            refused.stderr.contains("node one serves it"),
            "{}",
            refused.stderr
        );
    }
    two.ctl(&["flows", "count"]).ok();
}

#[test]
fn what_the_record_says_holds_on_every_node() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let mut scene = Scene::on(lab, &Config::with(&redis.config("one")));
    let two = other(&scene.lab, &redis.config("two"), "two");
    scene.port("web");
    two.create(&["idle"]);
    for agent in [&scene.agent, &two] {
        eventually(SOON, || agent.items(&["ports", "list"]).len() == 2);
    }
    scene.agent.ctl(&["ports", "drain", "web"]).ok();
    eventually(SOON, || {
        two.ctl_json(&["ports", "show", "web"])["state"] == "draining"
    });
    let shown = scene.agent.ctl_json(&["ports", "show", "idle"]);
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&"down".into(), &"no backend".into())
    );
    // Those that are away are known even less.
    scene.agent.ctl(&["ports", "resume", "web"]).ok();
    scene.agent.kill();
    eventually(SOON, || {
        let port = two.ctl_json(&["ports", "show", "web"]);
        port["state"] == "unknown" && port["reason"] == "node one serves it, and is away"
    });
}
