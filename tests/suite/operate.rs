//! What an operator does while traffic flows: settings, kills, explanations, and a host whose own
//! network changes.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    time::Duration,
};

use kit::{Agent, Config, Family, Lab, V4, binary, eventually, finish, traffic};
use serde_json::Value;

use crate::scene::{APP_PORT, FAMILIES, Scene};

const SOON: Duration = Duration::from_secs(5);

/// All flows that the agent sees.
fn flows(agent: &Agent) -> u64 {
    agent.ctl_json(&["flows", "count"])["flows"]
        .as_u64()
        .unwrap()
}

fn network_of(client: IpAddr) -> String {
    match client {
        IpAddr::V4(_) => format!("{client}/24"),
        IpAddr::V6(_) => format!("{client}/64"),
    }
}

#[test]
fn a_client_that_is_denied_loses_its_flows_and_gets_no_new_ones() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 4);
        let denied = network_of(scene.lab.client_address(family));
        scene
            .agent
            .ctl_json(&["ports", "set", "web", &format!("denied_cidrs={denied}")]);
        eventually(SOON, || flows(&scene.agent) == 0);
        assert_eq!(live.finish().errors.len(), 4);
        assert_ne!(traffic::connect(&scene.lab.client, to, 1).errors.len(), 0);
        scene
            .agent
            .ctl_json(&["ports", "set", "web", "denied_cidrs=none"]);
        assert_eq!(traffic::connect(&scene.lab.client, to, 4).errors.len(), 0);
    }
}

#[test]
fn flows_end_that_are_named_and_no_others() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 6);
        let first = scene.app(0).to_string();
        let nobody = ["flows", "kill", "192.0.2.99", "--yes"];
        assert_eq!(scene.agent.ctl_json(&nobody)["flows"], 0);
        let half = ["flows", "kill", "-p", "web", "--backend", &first, "--yes"];
        assert_eq!(scene.agent.ctl_json(&half)["flows"], 3);
        let tally = live.finish();
        assert_eq!((tally.errors.len(), tally.of("app2")), (3, 3), "{tally:?}");
    }
}

#[test]
fn an_explanation_is_what_then_happens_and_changes_nothing() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        let client = SocketAddr::new(scene.lab.client_address(family), 40_000);
        let explain = |to: SocketAddr| -> Value {
            let (from, to) = (client.to_string(), to.to_string());
            scene
                .agent
                .ctl_json(&["explain", "--src", &from, "--dst", &to])
        };
        let counted = || scene.agent.ctl_json(&["stats"])["items"].clone();
        let before = counted();
        let (once, again) = (explain(to), explain(to));
        assert_eq!(once["name"], "forward", "{once}");
        assert_eq!(once, again);
        assert_eq!(counted(), before);
        assert_eq!(flows(&scene.agent), 0);

        let said = once["backend"]["address"].as_str().unwrap();
        let met = match said == scene.app(0).to_string() {
            true => "app1",
            false => "app2",
        };
        let tally = traffic::connect(&scene.lab.client, to, 1);
        assert_eq!(tally.of(met), 1, "{once} but {tally:?}");

        let nobody = explain(scene.at(34_999));
        assert_eq!(nobody["name"], "not-ours");
        assert!(
            nobody["why"][0].as_str().unwrap().contains("34999"),
            "{nobody}"
        );
        scene.agent.ctl(&["ports", "drain", "web"]).ok();
        let drained = explain(to);
        assert_eq!(drained["name"], "no-backend");
        assert!(
            drained["why"][0].as_str().unwrap().contains("drains"),
            "{drained}"
        );
    }
}

#[test]
fn weights_share_new_connections_and_backends_show_their_part() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        let first = scene.app(0).to_string();
        scene
            .agent
            .ctl_json(&["backends", "add", "web", &first, "--weight", "3"]);
        let tally = traffic::connect(&scene.lab.client, to, 40);
        assert_eq!((tally.of("app1"), tally.of("app2")), (30, 10), "{tally:?}");
        eventually(SOON, || {
            let items = scene.agent.items(&["backends", "list", "web"]);
            let of = |name: &str| {
                let counts = items.iter().map(|item| item[name].as_u64().unwrap());
                counts.collect::<Vec<_>>()
            };
            of("flows_total") == [30, 10] && of("reply_bytes").iter().all(|bytes| *bytes > 0)
        });
    }
}

#[test]
fn fifty_flaps_lose_no_connection() {
    let scene = Scene::routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 10);
    for _ in 0..50 {
        scene.lab.node.ip("link set eth0 down\nlink set eth0 up");
    }
    live.progress();
    assert_eq!(live.finish().errors.len(), 0);
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).errors.len(), 0);
}

#[test]
fn an_interface_that_is_made_anew_serves_at_once() {
    let scene = Scene::routed();
    let to = scene.port("web");
    let Lab { client, node, .. } = &scene.lab;
    let addresses = [
        (client, scene.lab.client_address(V4)),
        (node, scene.lab.public(V4)),
    ];
    node.ip("link del eth0");
    node.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}",
        client.name()
    ));
    for (host, address) in addresses {
        host.ip(&format!("addr add {address}/24 dev eth0\nlink set eth0 up"));
    }
    // Until it is attached, the node's own stack refuses connections.
    eventually(Duration::from_secs(1), || {
        traffic::connect(client, to, 1).errors.is_empty()
    });
    assert_eq!(traffic::connect(client, to, 10).errors.len(), 0);
}

#[test]
fn numbers_are_reserved_beside_those_of_others_and_given_back() {
    const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
    let lab = Lab::routed();
    lab.node.set(RESERVED, "8080,36000");
    let mut agent = Agent::start(&lab);
    assert_eq!(lab.node.get(RESERVED), "8080,35000-40000");
    let outside = agent.create(&["web", "--port", "39999"]);
    agent
        .ctl(&["config", "set", "ports.range", "36000-36999"])
        .ok();
    assert_eq!(
        lab.node.get(RESERVED),
        format!("8080,36000-36999,{outside}")
    );
    agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    assert_eq!(lab.node.get(RESERVED), "8080,36000-36999");
    // Killed and started again, it still knows which are its own.
    agent.kill();
    agent.restart();
    assert_eq!(agent.stop(), 0);
    let mut detach = lab.node.command(binary("harbor-ctl"));
    detach.arg("--config").arg(agent.config_file());
    finish(detach.args(["datapath", "detach", "--yes"])).ok();
    assert_eq!(lab.node.get(RESERVED), "8080,36000");
}

#[test]
fn a_port_of_both_families_serves_each_with_its_own_backends() {
    let scene = Scene::routed();
    let all = FAMILIES.map(|family| scene.lab.app(family, 0));
    let backends = all.map(|ip| SocketAddr::new(ip, APP_PORT).to_string());
    let port = scene
        .agent
        .create(&["web", "--backend", &backends[0], "--backend", &backends[1]]);
    let dial = |family: Family| SocketAddr::new(scene.lab.public(family), port);
    for family in FAMILIES {
        let tally = traffic::connect(&scene.lab.client, dial(family), 6);
        assert_eq!(tally.of("app1"), 6, "{tally:?}");
    }
    let counted = scene.agent.items(&["backends", "list", "web"]);
    assert_eq!(counted.len(), 2);
}

#[test]
fn an_agent_does_not_start_beside_an_older_layout_until_it_is_taken_away() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::default());
    let older = lab.bpf().join("v1");
    let mut make = std::fs::DirBuilder::new();
    make.mode(0o700).recursive(true).create(&older).unwrap();
    agent.launch();
    assert_eq!(agent.wait_until_ended(), 5, "{}", agent.printed());
    assert!(
        agent.printed().contains("datapath detach"),
        "{}",
        agent.printed()
    );
    assert_eq!(std::fs::read_dir(lab.bpf()).unwrap().count(), 1);

    let mut detach = lab.node.command(binary("harbor-ctl"));
    detach.arg("--config").arg(agent.config_file());
    finish(detach.args(["datapath", "detach", "--yes"])).ok();
    agent.launch();
    agent.wait_until_ready();
}
