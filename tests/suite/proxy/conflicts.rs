//! Numbers that somebody else took while the agent was away: named, left alone, taken back.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::{Config, Lab, Process, V4, eventually, traffic};
use nix::sys::signal::Signal;

use crate::{engines::Engine, scene::Scene};

const SOON: Duration = Duration::from_secs(10);
const PORTS: u16 = 100;

/// Ports by their state.
fn in_state(scene: &Scene, state: &str) -> BTreeSet<u16> {
    let items = scene.agent.items(&["ports", "list"]);
    let with = items.iter().filter(|item| item["state"] == state);
    with.map(|item| u16::try_from(item["port"].as_u64().unwrap()).unwrap())
        .collect()
}

/// A hundred ports, every second of which another process holds when the agent comes back.
fn taken(engine: Engine) -> (Scene, Vec<u16>, Process) {
    let config = Config::with("[ports]\nrange = \"35000-35099\"\nrest = \"0s\"\n");
    let mut scene = engine.on(Lab::routed(), &config);
    for number in 0..PORTS {
        scene.port(&format!("web{number}"));
    }
    scene.agent.stop();
    let held: Vec<u16> = (35_000..35_000 + PORTS).step_by(2).collect();
    let holder = traffic::hold(&scene.lab.node, scene.lab.folder(), &held);
    scene.agent.restart();
    (scene, held, holder)
}

fn is_served(scene: &Scene, port: u16) -> bool {
    let tally = traffic::connect(&scene.lab.client, scene.at(port), 1);
    tally.errors.is_empty()
}

/// What is so with each engine; the holder is gone at the end.
fn half_of_the_ports_are_taken(engine: Engine) {
    let (scene, held, mut holder) = taken(engine);
    let held_set: BTreeSet<u16> = held.iter().copied().collect();
    eventually(SOON, || in_state(&scene, "conflict") == held_set);
    assert_eq!(in_state(&scene, "up").len(), usize::from(PORTS) / 2);
    for port in (35_000..35_000 + PORTS).filter(|port| !held_set.contains(port)) {
        assert!(is_served(&scene, port), "{port}");
    }
    // The programs take a client's packets before any socket of the host: whoever holds it.
    if engine == Engine::Tc {
        for port in &held {
            assert!(is_served(&scene, *port), "{port}");
        }
    }
    let log = scene.agent.log("proxy_connector");
    let pid = holder.id().to_string();
    for port in &held {
        let named = |line: &&str| {
            line.contains(&format!("{port}/tcp"))
                && line.contains(&pid)
                && line.contains("harbor-traffic")
                && line.contains(&format!("0.0.0.0:{port}"))
        };
        assert_eq!(log.lines().filter(named).count(), 1, "{port}: {log}");
    }
    let status = scene.agent.ctl_json_whatever(&["status"]);
    assert_eq!(status["ports"]["state"], "degraded", "{status}");
    assert!(
        status["ports"]["text"].to_string().contains("held by pid"),
        "{status}"
    );

    assert_eq!(told(&scene, "conflict_found"), held_set);
    assert_eq!(told(&scene, "conflict_healed"), BTreeSet::new());

    holder.signal(Signal::SIGKILL);
    holder.wait(SOON);
    let begun = Instant::now();
    let all = || in_state(&scene, "up").len() == usize::from(PORTS);
    eventually(SOON, || held.iter().all(|port| is_ours(&scene, *port)));
    println!("{engine:?}: all held again after {:?}", begun.elapsed());
    eventually(SOON, all);
    for port in &held {
        assert!(is_served(&scene, *port), "{port}");
    }
    let log = scene.agent.log("proxy_connector");
    let again = log.lines().filter(|line| line.contains("Harbor's again"));
    assert_eq!(again.count(), held.len(), "{log}");
    eventually(SOON, || told(&scene, "conflict_healed") == held_set);
}

/// The ports that events of this kind are about, each of which is told once.
fn told(scene: &Scene, kind: &str) -> BTreeSet<u16> {
    let events = scene.agent.items(&["events"]);
    let of_kind: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect();
    let port = |event: &&serde_json::Value| event["port"].as_u64().unwrap() as u16;
    let ports: BTreeSet<u16> = of_kind.iter().map(port).collect();
    assert_eq!(ports.len(), of_kind.len(), "{of_kind:?}");
    ports
}

/// Whether the node's own socket answers at this number, whatever the programs do.
fn is_ours(scene: &Scene, port: u16) -> bool {
    let to = SocketAddr::new(scene.lab.public(V4), port);
    traffic::connect(&scene.lab.node, to, 1).errors.is_empty()
}

#[test]
fn half_of_the_ports_are_taken_and_healed_beside_the_programs() {
    half_of_the_ports_are_taken(Engine::Tc);
}

#[test]
fn half_of_the_ports_are_taken_and_healed_with_the_proxy_alone() {
    half_of_the_ports_are_taken(Engine::Proxy);
}

#[test]
fn a_number_bound_without_listening_is_a_conflict_too() {
    let mut scene = Engine::Proxy.routed();
    let port = scene.port("both-web").port();
    scene.agent.stop();
    let holder = traffic::hold_udp(&scene.lab.node, scene.lab.folder(), &[port]);
    scene.agent.restart();
    eventually(SOON, || in_state(&scene, "conflict").contains(&port));
    // Its other half is not affected.
    assert!(is_served(&scene, port));
    drop(holder);
    eventually(SOON, || in_state(&scene, "up").contains(&port));
    assert_eq!(
        traffic::ask(&scene.lab.client, scene.at(port), 2).of("app1"),
        2
    );
}

#[test]
fn nobody_takes_a_number_from_allocation_to_release() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let scene = engine.on(Lab::routed(), &Config::with("[ports]\nrest = \"0s\"\n"));
        let port = scene.agent.create(&["both-web"]);
        let bind = |port: u16| {
            scene.lab.node.enter(|| {
                let any = std::net::Ipv4Addr::UNSPECIFIED;
                let tcp = std::net::TcpListener::bind((any, port));
                let udp = std::net::UdpSocket::bind((any, port));
                (tcp.is_ok(), udp.is_ok())
            })
        };
        assert_eq!(bind(port), (false, false), "{engine:?}");
        scene
            .agent
            .ctl(&["ports", "delete", "both-web", "--yes"])
            .ok();
        assert_eq!(bind(port), (true, true), "{engine:?}");
    }
}
