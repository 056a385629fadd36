//! Nodes that share a registry: each serves its own ports, all know of all.

use std::{collections::BTreeSet, thread, time::Duration};

use kit::{Agent, Config, Lab, Redis, V4, eventually, traffic};
use serde_json::Value;

use super::{Shared, redis_of};
use crate::{restart, scene::Scene};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn ports_in_redis_are_served_and_outlive_the_agent() {
    let Shared { mut scene, redis } = Shared::start();
    let web = scene.port("web");
    let tally = traffic::connect(&scene.lab.client, web, 10);
    assert_eq!((tally.of("app1"), tally.of("app2")), (5, 5), "{tally:?}");
    let status = scene.agent.ctl_json(&["status"]);
    assert_eq!(status["registry"]["state"], "ok", "{status}");
    let port = scene.agent.ctl_json(&["ports", "show", "web"]);
    assert_eq!(port["node"], "one");
    let wide = scene
        .agent
        .ctl(&["ports", "list", "-o", "wide"])
        .ok()
        .stdout;
    assert!(wide.contains("NODE") && wide.contains(" one"), "{wide}");
    scene.agent.kill();
    scene.agent.restart();
    assert_eq!(
        scene.agent.ctl_json(&["ports", "show", "web"])["id"],
        port["id"]
    );
    assert_eq!(traffic::connect(&scene.lab.client, web, 10).errors.len(), 0);
    assert_eq!(
        redis.say(&["hlen", "{harbor:harbor}:services"]).stdout,
        "1\n"
    );
}

#[test]
fn each_node_serves_its_own_ports_and_lists_all() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let scene = Scene::on(lab, &Config::with(&redis.config("one")));
    let two = other(&scene.lab, &redis.config("two"), "two");
    let web = scene.port("web");
    two.create(&["api", "--backend", &scene.app(1).to_string()]);
    let names = |agent: &Agent| -> Vec<String> {
        let items = agent.items(&["ports", "list"]);
        let mut names: Vec<_> = items
            .iter()
            .map(|i| format!("{} {}", i["name"], i["node"]))
            .collect();
        names.sort();
        names
    };
    for agent in [&scene.agent, &two] {
        eventually(SOON, || {
            names(agent) == ["\"api\" \"two\"", "\"web\" \"one\""]
        });
    }
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    // What one node says about the other's port, the other applies.
    scene.agent.ctl(&["ports", "drain", "api"]).ok();
    eventually(SOON, || {
        two.ctl_json(&["ports", "show", "api"])["state"] == "draining"
    });
    scene.agent.ctl(&["ports", "delete", "api", "--yes"]).ok();
    eventually(SOON, || names(&two).len() == 1);
}

/// Another node beside the lab's own, on a host of its own.
#[track_caller]
pub(crate) fn other(lab: &Lab, config: &str, name: &str) -> Agent {
    let config = Config {
        name: name.into(),
        bpf: Some(lab.bpffs().join(name)),
        host: Some(lab.another()),
        ..Config::with(config)
    };
    Agent::start_with(lab, &config)
}

/// A range that is soon empty.
const NUMBERS: usize = 300;
/// One for ports of both protocols, of which it takes twice as many requests to empty it.
const FEWER: usize = 80;

/// Three nodes on one lab, and the registry that they share.
fn three_nodes(numbers: usize) -> (Lab, Redis, [Agent; 3]) {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let range = format!("[ports]\nrange = \"35000-{}\"\n", 35_000 + numbers - 1);
    let node = |name: &str| other(&lab, &format!("{}{range}", redis.config(name)), name);
    let agents = ["one", "two", "three"].map(node);
    (lab, redis, agents)
}

/// What one process got until nothing was left: numbers by protocol, and the last error of each.
#[derive(Default)]
struct Haul {
    ports: Vec<Value>,
    errors: Vec<(String, Value)>,
}

/// Creates ports of these protocols in turn, until each is refused.
fn allocate(agent: &Agent, name: &str, protocols: &[&str], redis: &Redis) -> Haul {
    let mut haul = Haul::default();
    let mut wanted = protocols.to_vec();
    for count in 0.. {
        let Some(&protocol) = wanted.get(count % wanted.len().max(1)) else {
            break;
        };
        let port = format!("{name}-{count}");
        let words = [
            "ports",
            "create",
            &port,
            "--protocol",
            protocol,
            "-o",
            "json",
        ];
        let done = agent.ctl(&words);
        if done.code == 0 {
            haul.ports.push(done.json());
            continue;
        }
        assert_eq!(done.code, 5, "{}", done.stderr);
        let error = serde_json::from_str(&done.stderr).unwrap();
        if protocol == "both" {
            // It may be refused only when no number is whole any more, which it stays.
            let taken = redis.say(&["hkeys", "{harbor:harbor}:numbers"]).stdout;
            let numbers: BTreeSet<_> = taken
                .lines()
                .filter_map(|l| l.split_once('/'))
                .map(|(_, n)| n.to_owned())
                .collect();
            assert_eq!(numbers.len(), FEWER, "whole numbers were left");
        }
        haul.errors.push((protocol.to_owned(), error));
        wanted.retain(|other| *other != protocol);
    }
    haul
}

/// Two processes on each of three nodes, all at once.
fn compete(agents: &[Agent; 3], protocols: &[&str], redis: &Redis) -> Vec<Haul> {
    thread::scope(|scope| {
        let start = |number: usize| {
            let agent = &agents[number % 3];
            scope.spawn(move || allocate(agent, &format!("p{number}"), protocols, redis))
        };
        let running: Vec<_> = (0..6).map(start).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Each half of a number that was given away.
fn halves(hauls: &[Haul]) -> Vec<(String, u64)> {
    let each = |port: &Value| -> Vec<(String, u64)> {
        let number = port["port"].as_u64().unwrap();
        let protocols = port["protocols"].as_array().unwrap();
        protocols
            .iter()
            .map(|p| (p.as_str().unwrap().to_owned(), number))
            .collect()
    };
    hauls
        .iter()
        .flat_map(|haul| &haul.ports)
        .flat_map(each)
        .collect()
}

#[test]
fn six_processes_on_three_nodes_empty_a_range_without_a_duplicate() {
    let (_lab, redis, agents) = three_nodes(NUMBERS);
    let hauls = compete(&agents, &["tcp"], &redis);
    let given = halves(&hauls);
    let distinct: BTreeSet<_> = given.iter().collect();
    assert_eq!((given.len(), distinct.len()), (NUMBERS, NUMBERS));
    for haul in &hauls {
        let [(_, error)] = &haul.errors[..] else {
            panic!("one error each")
        };
        assert_eq!(error["error"], "range_exhausted", "{error}");
        assert!(error["description"].to_string().contains("300"), "{error}");
        assert!(error["fix"].is_string(), "{error}");
    }
    for agent in &agents {
        eventually(SOON, || agent.items(&["ports", "list"]).len() == NUMBERS);
    }
}

#[test]
fn both_is_given_as_long_as_a_whole_number_is_left_on_any_node() {
    let (_lab, redis, agents) = three_nodes(FEWER);
    let hauls = compete(&agents, &["both", "tcp", "udp"], &redis);
    let given = halves(&hauls);
    let distinct: BTreeSet<_> = given.iter().collect();
    assert_eq!((given.len(), distinct.len()), (2 * FEWER, 2 * FEWER));
    for error in hauls.iter().flat_map(|haul| &haul.errors) {
        assert_eq!(error.1["error"], "range_exhausted", "{error:?}");
    }
    // Half-used numbers went first: a third of what was asked for found whole ones.
    let both = hauls.iter().flat_map(|haul| &haul.ports);
    let both = both
        .filter(|port| port["protocols"].as_array().unwrap().len() == 2)
        .count();
    assert!(both >= FEWER / 3, "{both} whole numbers");
}

#[test]
fn agent_redis_and_pins_gone_at_once_come_back_with_the_same_ports_and_backends() {
    let Shared {
        mut scene,
        mut redis,
    } = Shared::start();
    let ports = restart::populate(&scene);
    let before = scene.agent.ctl_json(&["state", "export"])["services"].clone();
    for order in ["redis first", "agent first"] {
        scene.agent.kill();
        redis.kill();
        std::fs::remove_dir_all(scene.lab.bpf()).unwrap();
        if order == "redis first" {
            redis.restart();
        }
        scene.agent.restart();
        assert_eq!(
            traffic::connect(&scene.lab.client, ports[0], 10)
                .errors
                .len(),
            0,
            "{order}"
        );
        assert_eq!(
            traffic::ask(&scene.lab.client, ports[1], 5).of("app1"),
            5,
            "{order}"
        );
        assert_eq!(
            traffic::connect(&scene.lab.client, ports[2], 5).of("app2"),
            5,
            "{order}"
        );
        if order == "agent first" {
            assert_eq!(scene.agent.ctl(&["status"]).code, 7);
            redis.restart();
        }
        eventually(SOON, || scene.agent.ctl(&["state", "check"]).code == 0);
        assert_eq!(
            scene.agent.ctl_json(&["state", "export"])["services"],
            before,
            "{order}"
        );
    }
}

/// The port is there, and a first attachment is told as no loss of the registry.
fn is_taken_along(agent: &Agent, id: &Value) {
    assert_eq!(&agent.ctl_json(&["ports", "show", "web"])["id"], id);
    let logs = ["node", "redis"].map(|part| agent.log(part)).concat();
    assert!(logs.contains("are taken along") && !logs.contains("has lost what it knew"));
}

#[test]
fn a_node_attaches_with_its_ports_and_leaves_with_them() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let two = other(&lab, &redis.config("two"), "two");
    let mut scene = Scene::on(lab, &Config::with("[node]\nid = \"one\"\n"));
    let web = scene.port("web");
    let id = scene.agent.ctl_json(&["ports", "show", "web"])["id"].clone();
    let core = redis.url().replace("redis://", "");
    let refused = scene.agent.ctl(&["node", "attach", "-e", "harbor", &core]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("--import"), "{}", refused.stderr);
    let silent = format!("{}:1", scene.lab.app(V4, 1));
    let refused = scene.agent.ctl(&["node", "attach", &silent, "--import"]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    let nobody = scene.agent.ctl(&["node", "drain", "one"]);
    assert_eq!(nobody.code, 5, "{}", nobody.stderr);
    let said = scene
        .agent
        .ctl(&["node", "attach", "-e", "harbor", &core, "--import"])
        .ok();
    assert!(said.stderr.contains("restart"), "{}", said.stderr);
    // What changes until the restart goes along too.
    scene.port("api");
    scene.agent.stop();
    scene.agent.restart();
    is_taken_along(&scene.agent, &id);
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    eventually(SOON, || two.items(&["ports", "list"]).len() == 2);
    // Drained on one node's word, refused on the other.
    two.ctl(&["node", "drain", "one"]).ok();
    let refused = scene.agent.ctl(&["ports", "create", "late"]);
    assert!(
        refused.code == 5 && refused.stderr.contains("drained"),
        "{}",
        refused.stderr
    );
    let nodes = two.items(&["node", "list"]);
    assert_eq!(
        (&nodes[0]["id"], &nodes[0]["state"]),
        (&"one".into(), &"drained".into())
    );
    assert_eq!(
        (&nodes[0]["ports"], &nodes[1]["this"]),
        (&2.into(), &true.into())
    );
    two.ctl(&["node", "resume", "one"]).ok();
    let alive = two.ctl(&["node", "detach", "one", "--yes"]);
    assert_eq!(alive.code, 5, "{}", alive.stderr);
    let refused = scene.agent.ctl(&["node", "detach"]);
    assert!(
        refused.code == 5 && refused.stderr.contains("--keep"),
        "{}",
        refused.stderr
    );
    scene.agent.ctl(&["node", "detach", "--keep"]).ok();
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    scene.agent.stop();
    scene.agent.restart();
    let port = scene.agent.ctl_json(&["ports", "show", "web"]);
    assert_eq!((&port["id"], &port["node"]), (&id, &"".into()));
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    eventually(SOON, || two.items(&["ports", "list"]).is_empty());
    assert_eq!(two.items(&["node", "list"]).len(), 1);
}

#[test]
fn a_second_agent_with_the_same_id_takes_over_and_the_first_is_told() {
    let Shared { scene, redis } = Shared::start();
    let web = scene.port("web");
    let second = other(&scene.lab, &redis.config("one"), "second");
    let part = || scene.agent.ctl_json_whatever(&["status"])["registry"].clone();
    eventually(SOON, || {
        part()["text"].to_string().contains("another agent")
    });
    assert_eq!(part()["state"], "degraded");
    let refused = scene.agent.ctl(&["ports", "create", "late"]);
    assert!(
        refused.code == 5 && refused.stderr.contains("another agent"),
        "{}",
        refused.stderr
    );
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    second.create(&["now"]);
    assert_eq!(second.ctl(&["state", "check"]).code, 0);
}

#[test]
fn a_lost_node_is_forgotten_and_its_numbers_are_given_back() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let one = other(&lab, &redis.config("one"), "one");
    let mut two = other(&lab, &redis.config("two"), "two");
    two.create(&["web", "--port", "35000"]);
    eventually(SOON, || one.items(&["ports", "list"]).len() == 1);
    two.kill();
    let state = || one.ctl_json(&["node", "show", "two"])["state"].clone();
    eventually(Duration::from_secs(20), || state() == "away");
    one.ctl(&["node", "detach", "two", "--yes"]).ok();
    assert!(one.items(&["ports", "list"]).is_empty());
    assert_eq!(one.create(&["api", "--port", "35000"]), 35_000);
    assert_eq!(one.ctl(&["node", "show", "two"]).code, 4);
}
