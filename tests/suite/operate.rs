//! A host whose own network changes while traffic flows, and what is left of others' numbers and pins.

use std::{os::unix::fs::DirBuilderExt as _, time::Duration};

use kit::{Agent, Config, Lab, V4, binary, eventually, finish, traffic};

use crate::{engines::Engine, scene::Scene};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

crate::engines::scenarios!(fifty_flaps_of_either_interface_lose_no_connection);

fn fifty_flaps_of_either_interface_lose_no_connection(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 10);
    for interface in ["eth0", "eth1"] {
        for _ in 0..50 {
            let lines = format!("link set {interface} down\nlink set {interface} up");
            scene.lab.node.ip(&lines);
        }
        live.progress();
        let new = traffic::connect(&scene.lab.client, to, 20);
        assert_eq!(new.errors, Vec::<String>::new());
    }
    assert_eq!(live.finish().errors, Vec::<String>::new());
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

/// Takes the datapath of an agent that was stopped away; answers what was printed.
fn detach(lab: &Lab, agent: &Agent) -> String {
    let mut detach = lab.node.command(binary("harbor-ctl"));
    detach.arg("--config").arg(agent.config_file());
    let done = finish(detach.args(["datapath", "detach", "--yes"])).ok();
    done.stdout
}

#[test]
fn reserved_numbers_of_others_stay_however_many_there_are() {
    // Nothing, ten numbers, and lists of 200 and of 4,000 bytes.
    for count in [0_u32, 10, 40, 680] {
        let lab = Lab::routed();
        let others: Vec<String> = (0..count).map(|n| (9_000 + 2 * n).to_string()).collect();
        let others = others.join(",");
        lab.node.set(RESERVED, &format!("{others}\n"));
        let mut agent = Agent::start(&lab);
        let comma = if count == 0 { "" } else { "," };
        let both = format!("{others}{comma}35000-40000");
        assert_eq!(lab.node.get(RESERVED), both, "{count} numbers");
        agent.kill();
        agent.restart();
        assert_eq!(lab.node.get(RESERVED), both, "{count} numbers");
        assert_eq!(agent.stop(), 0);
        let told = detach(&lab, &agent);
        assert_eq!(lab.node.get(RESERVED), others, "{count} numbers");
        assert!(told.contains("no longer reserved: 35000-40000\n"), "{told}");
    }
}

#[test]
fn numbers_are_reserved_beside_those_of_others_and_given_back() {
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
    detach(&lab, &agent);
    assert_eq!(lab.node.get(RESERVED), "8080,36000");
}

#[test]
fn settings_that_are_changed_under_traffic_lose_no_packet() {
    let scene = Scene::routed();
    let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
    let live = traffic::Live::open(&scene.lab.client, web, 10);
    let mut asked = 0;
    for (key, values) in [
        ("ports.range", ["36000-36999", "34000-34999"]),
        ("public.hostname", ["a.example.com", "b.example.com"]),
        ("public.address", ["192.0.2.1", "192.0.2.2"]),
        ("limits.ports", ["100", "200"]),
        ("timeouts.tcp_established", ["10m", "20m"]),
        ("timeouts.udp_stream", ["1m", "2m"]),
        ("policy.drain", ["5s", "6s"]),
        ("log.level", ["trace", "info"]),
        ("log.datapath", ["debug", "off"]),
    ] {
        for value in values {
            let changed = scene.agent.ctl(&["config", "set", key, value]).ok();
            assert!(!changed.stdout.contains("restart"), "{}", changed.stdout);
            let tally = traffic::connect(&scene.lab.client, web, 10);
            assert_eq!(tally.errors, [""; 0], "{key} = {value}");
            let tally = traffic::ask(&scene.lab.client, dns, 10);
            assert_eq!(tally.errors, [""; 0], "{key} = {value}");
            asked += 10;
        }
    }
    live.progress();
    let exchanged = live.exchanged();
    assert_eq!(live.finish().errors, [""; 0]);
    println!("{asked} connections, {asked} questions, {exchanged} messages, none lost");

    // Half a minute by default.
    for key in ["timeouts.udp_single", "timeouts.udp_stream"] {
        scene.agent.ctl(&["config", "set", key, "2s"]).ok();
    }
    assert_eq!(traffic::ask(&scene.lab.client, dns, 1).errors, [""; 0]);
    eventually(Duration::from_secs(15), || {
        let flows = scene.agent.items(&["flows", "list"]);
        flows.iter().all(|flow| flow["protocol"] != "udp")
    });
}

#[test]
fn an_agent_does_not_start_beside_flows_that_it_cannot_read_until_they_are_taken_away() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::default());
    let older = lab.bpf().join("v1/maps");
    let mut make = std::fs::DirBuilder::new();
    make.mode(0o700).recursive(true).create(&older).unwrap();
    let mut plant = lab.node.command("bpftool");
    plant
        .args(["map", "create"])
        .arg(older.join("flows"))
        .args(["type", "hash", "key", "4", "value", "8"])
        .args(["entries", "16", "name", "flows"]);
    finish(&mut plant).ok();
    agent.launch();
    assert_eq!(agent.wait_until_ended(), 5, "{}", agent.printed());
    assert!(
        agent.printed().contains("datapath detach"),
        "{}",
        agent.printed()
    );
    assert_eq!(std::fs::read_dir(lab.bpf()).unwrap().count(), 1);

    detach(&lab, &agent);
    agent.launch();
    agent.wait_until_ready();
}
