//! Ports and backends outlive the agent, the pins, and both.

use std::{fs, net::SocketAddr, path::Path};

use kit::{Agent, Config, Lab, finish, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::Scene;

/// A TCP, a UDP and a two-protocol port, with different backends.
pub(crate) fn populate(scene: &Scene) -> Vec<SocketAddr> {
    let ports = [
        scene.port("web"),
        scene.port("udp-game"),
        scene.port("both-sip"),
    ];
    scene
        .agent
        .ctl(&[
            "backends",
            "remove",
            "both-sip",
            &scene.app(0).to_string(),
            "--now",
        ])
        .ok();
    ports.to_vec()
}

/// What must be the same afterwards: every port and every backend, without ages and counts.
fn inventory(agent: &Agent) -> Vec<Value> {
    let facts = |items: Vec<Value>, keys: &[&str]| -> Vec<Value> {
        items
            .iter()
            .map(|item| keys.iter().map(|key| item[*key].clone()).collect())
            .collect()
    };
    let ports = facts(
        agent.items(&["ports", "list"]),
        &["name", "id", "port", "protocols"],
    );
    let backends = facts(
        agent.items(&["backends", "list"]),
        &["port", "instance", "address"],
    );
    [ports, backends].concat()
}

#[track_caller]
fn serves(scene: &Scene, ports: &[SocketAddr]) {
    let web = traffic::connect(&scene.lab.client, ports[0], 10);
    assert_eq!(
        (web.of("app1"), web.of("app2"), web.errors.len()),
        (5, 5, 0),
        "{web:?}"
    );
    assert_eq!(traffic::ask(&scene.lab.client, ports[1], 5).of("app1"), 5);
    assert_eq!(
        traffic::connect(&scene.lab.client, ports[2], 5).of("app2"),
        5
    );
    assert_eq!(traffic::ask(&scene.lab.client, ports[2], 5).of("app2"), 5);
}

#[test]
fn ports_and_backends_are_the_same_after_a_restart() {
    let mut scene = Scene::routed();
    let ports = populate(&scene);
    let before = inventory(&scene.agent);
    assert_eq!(before.len(), 8, "{before:?}");
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        scene.agent.process().signal(signal);
        scene.agent.wait_until_ended();
        scene.agent.restart();
        assert_eq!(inventory(&scene.agent), before);
        serves(&scene, &ports);
    }
}

#[test]
fn ports_and_backends_are_the_same_after_the_pins_were_wiped() {
    let mut scene = Scene::routed();
    let ports = populate(&scene);
    let before = inventory(&scene.agent);
    scene.agent.kill();
    wipe(&scene.lab.bpf());
    is_refused(&scene, ports[0]);
    scene.agent.restart();
    assert_eq!(inventory(&scene.agent), before);
    serves(&scene, &ports);
}

#[test]
fn a_running_agent_whose_pins_are_wiped_says_so_and_is_whole_after_a_restart() {
    let mut scene = Scene::routed();
    let ports = populate(&scene);
    let before = inventory(&scene.agent);
    wipe(&scene.lab.bpf());
    scene.agent.stop();
    scene.agent.restart();
    assert_eq!(inventory(&scene.agent), before);
    serves(&scene, &ports);
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let mut scene = Scene::routed();
    for number in 0..10 {
        let name = format!("svc{number}");
        let port = scene.agent.create(&[&name]);
        scene.agent.kill();
        scene.agent.restart();
        assert_eq!(
            scene.agent.ctl_json(&["ports", "show", &name])["port"],
            port
        );
    }
}

#[test]
fn detach_removes_the_datapath_without_a_trace_and_needs_no_agent() {
    let mut scene = Scene::routed();
    let to = scene.port("web");
    let config = scene.agent.config_file();
    let detach = [
        "datapath",
        "detach",
        "--yes",
        "--config",
        config.to_str().unwrap(),
    ];
    let refused = scene.agent.ctl(&detach);
    assert_ne!(
        refused.code, 0,
        "refused while an agent holds it: {}",
        refused.stdout
    );
    assert_eq!(traffic::connect(&scene.lab.client, to, 2).errors.len(), 0);
    let programs = [scene.lab.client_side(), scene.lab.backend_side()]
        .map(|side| kit::verdict::link_ids(&scene.lab.link(side)).1);
    scene.agent.stop();
    scene.agent.ctl(&detach).ok();
    assert!(!scene.lab.bpf().exists());
    for program in programs {
        let mut show = scene.lab.node.command("bpftool");
        show.args(["prog", "show", "id", &program.to_string()]);
        kit::eventually(std::time::Duration::from_secs(5), || {
            finish(&mut show).code != 0
        });
    }
    is_refused(&scene, to);
    // A second time there is nothing to do, which is no error.
    scene.agent.ctl(&detach).ok();
}

#[test]
fn a_second_agent_on_the_same_state_or_pins_is_refused_and_changes_nothing() {
    let scene = Scene::routed();
    let to = scene.port("web");
    let mut same_state = Agent::configured(&scene.lab, &Config::default());
    same_state.launch();
    assert_eq!(same_state.wait_until_ended(), 5, "{}", same_state.printed());
    let other = Config {
        name: "other".into(),
        ..Config::default()
    };
    let mut same_pins = Agent::configured(&scene.lab, &other);
    same_pins.launch();
    assert_eq!(same_pins.wait_until_ended(), 5, "{}", same_pins.printed());
    assert!(
        same_pins.printed().contains("agent"),
        "{}",
        same_pins.printed()
    );
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!((tally.of("app1"), tally.of("app2")), (5, 5));
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn agents_with_different_paths_run_side_by_side() {
    let (one, two) = (Scene::routed(), Scene::bridged());
    assert_eq!(
        traffic::connect(&one.lab.client, one.port("web"), 4)
            .errors
            .len(),
        0
    );
    assert_eq!(
        traffic::connect(&two.lab.client, two.port("web"), 4)
            .errors
            .len(),
        0
    );
    assert_eq!(one.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_planted_pin_of_another_layout_is_refused_and_left_alone() {
    let lab = Lab::routed();
    let mut planting = lab.node.command("bpftool");
    fs::create_dir_all(lab.maps()).unwrap();
    let planted = lab.maps().join("flows");
    planting.args(["map", "create"]).arg(&planted);
    planting.args([
        "type", "hash", "key", "4", "value", "8", "entries", "16", "name", "flows",
    ]);
    finish(&mut planting).ok();
    for folder in [
        lab.bpf(),
        lab.maps().parent().unwrap().to_owned(),
        lab.maps(),
    ] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let mut agent = Agent::configured(&lab, &Config::default());
    agent.launch();
    assert_eq!(agent.wait_until_ended(), 5);
    let said = agent.printed();
    assert!(
        said.contains("maps/flows has another layout"),
        "it names the map: {said}"
    );
    assert!(
        said.contains("fix:") && said.contains("harbor-ctl datapath detach"),
        "it says what to do: {said}"
    );
    let beside = fs::read_dir(lab.maps().parent().unwrap()).unwrap();
    assert_eq!(beside.count(), 1, "nothing was made beside it");
    let mut show = lab.node.command("bpftool");
    show.args(["--json", "map", "show", "pinned"]).arg(&planted);
    let shown = finish(&mut show).ok().json();
    assert_eq!(
        (&shown["bytes_key"], &shown["bytes_value"]),
        (&4.into(), &8.into())
    );
}

/// Nobody forwards to the port any more. The kernel ends a link some time after its last pin went.
#[track_caller]
fn is_refused(scene: &Scene, to: SocketAddr) {
    kit::eventually(std::time::Duration::from_secs(10), || {
        !traffic::connect(&scene.lab.client, to, 1).errors.is_empty()
    });
}

/// Removes every pin below a directory; bpffs knows no other contents.
fn wipe(bpf: &Path) {
    fs::remove_dir_all(bpf).unwrap();
}
