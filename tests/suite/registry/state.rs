//! The state as a document, a copy and a comparison, over both registries.

use std::fs;

use kit::{Agent, Config, Lab};
use serde_json::{Value, json};

use super::Shared;
use crate::scene::Scene;

fn services(agent: &Agent) -> Value {
    agent.ctl_json(&["state", "export"])["services"].clone()
}

/// Exports, empties, and imports again; spoilt documents change nothing.
fn round_trip(scene: &Scene) {
    scene.port("web");
    scene.port("both-sip");
    let before = services(&scene.agent);
    let file = scene.lab.folder().join("state.json");
    let path = file.to_str().unwrap();
    let document = scene.agent.ctl_json(&["state", "export"]);
    fs::write(&file, document.to_string()).unwrap();
    let import = || scene.agent.ctl(&["state", "import", path]);
    import().ok();
    assert_eq!(
        services(&scene.agent),
        before,
        "what is there is left alone"
    );
    for name in ["web", "both-sip"] {
        scene.agent.ctl(&["ports", "delete", name, "--yes"]).ok();
    }
    assert_eq!(services(&scene.agent), json!([]));
    let spoilt: [(&str, Value); 5] = [
        ("/services/0/backends/0/address", json!("127.0.0.1:80")),
        ("/services/1/name", document["services"][0]["name"].clone()),
        ("/services/1/id", document["services"][0]["id"].clone()),
        ("/services/0/settings", json!(1)),
        ("/kind", json!("Other")),
    ];
    for (place, value) in spoilt {
        let mut bad = document.clone();
        match bad.pointer_mut(place) {
            Some(found) => *found = value,
            None => bad["surplus"] = value,
        }
        fs::write(&file, bad.to_string()).unwrap();
        let refused = import();
        assert!(
            [2, 5].contains(&refused.code),
            "{place}: {}{}",
            refused.stdout,
            refused.stderr
        );
        assert_eq!(services(&scene.agent), json!([]), "{place}");
    }
    fs::write(&file, document.to_string()).unwrap();
    assert_eq!(import().ok().stdout, "2 services\n");
    assert_eq!(services(&scene.agent), before);
    let check = scene.agent.ctl(&["state", "check"]).ok().stdout;
    assert_eq!(check, "ok: 2 services compared\n");
}

/// A copy that was taken while the agent ran starts another agent with the same ports.
fn copy_starts_another(scene: &Scene) {
    let before = services(&scene.agent);
    let copy = scene.agent.ctl_json(&["state", "backup"]);
    let again = scene.agent.ctl_json(&["state", "backup"]);
    assert_ne!(copy["file"], again["file"], "no copy overwrites another");
    let lab = Lab::routed();
    let mut other = Agent::configured(&lab, &Config::default());
    let state = other.folder().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::copy(copy["file"].as_str().unwrap(), state.join("harbor.redb")).unwrap();
    other.launch();
    other.wait_until_ready();
    assert_eq!(services(&other), before);
    assert_eq!(other.ctl(&["state", "check"]).code, 0);
}

#[test]
fn the_state_of_a_file_is_exported_imported_copied_and_compared() {
    let scene = Scene::routed();
    round_trip(&scene);
    copy_starts_another(&scene);
    let confirmed = scene.agent.ctl(&["state", "confirm", "--yes"]).ok();
    assert_eq!(confirmed.stdout, "0 ports are gone\n");
    let nodes = scene.agent.items(&["node", "list"]);
    assert_eq!((nodes.len(), &nodes[0]["ports"]), (1, &json!(2)));
}

#[test]
fn the_state_of_a_redis_is_exported_imported_copied_and_compared() {
    let Shared { scene, redis } = Shared::start();
    round_trip(&scene);
    copy_starts_another(&scene);
    // A record that was changed behind the agents' backs is found.
    let id = scene.agent.ctl_json(&["ports", "show", "web"])["id"].clone();
    let id = id.as_str().unwrap();
    redis
        .say(&["hset", "{harbor:harbor}:services", id, "{}"])
        .ok();
    let check = scene.agent.ctl(&["state", "check"]);
    assert_eq!(check.code, 7, "{}", check.stdout);
    assert!(check.stdout.contains("lacks port"), "{}", check.stdout);
}

#[test]
fn what_is_of_a_node_that_nobody_knows_is_not_imported() {
    let Shared {
        scene,
        redis: _redis,
    } = Shared::start();
    scene.port("web");
    let mut document = scene.agent.ctl_json(&["state", "export"]);
    scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    let file = scene.lab.folder().join("state.json");
    let mut import = |node: &str| {
        document["services"][0]["node"] = node.into();
        fs::write(&file, document.to_string()).unwrap();
        scene
            .agent
            .ctl(&["state", "import", file.to_str().unwrap()])
    };
    let refused = import("nobody");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("no node nobody"),
        "{}",
        refused.stderr
    );
    assert_eq!(services(&scene.agent), json!([]));
    import("one").ok();
    assert_eq!(services(&scene.agent)[0]["node"], "one");
}

#[test]
fn nor_by_a_node_that_shares_its_registry_with_nobody() {
    let scene = Scene::on(Lab::routed(), &Config::with("[node]\nid = \"one\"\n"));
    scene.port("web");
    let mut document = scene.agent.ctl_json(&["state", "export"]);
    let file = scene.lab.folder().join("state.json");
    let mut import = |node: &str| {
        scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
        document["services"][0]["node"] = node.into();
        fs::write(&file, document.to_string()).unwrap();
        scene
            .agent
            .ctl(&["state", "import", file.to_str().unwrap()])
    };
    for known in ["", "one"] {
        import(known).ok();
        assert_eq!(services(&scene.agent).as_array().unwrap().len(), 1);
    }
    let refused = import("two");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for said in ["no node two", "\"node\": \"one\""] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert_eq!(services(&scene.agent), json!([]));
}
