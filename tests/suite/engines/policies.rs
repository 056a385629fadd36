//! How a new connection finds its backend: by weight, by the client's address, by load.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use kit::{
    Family,
    bound::{End, greeting},
    traffic::{self, Live},
};

use super::Engine;
use crate::scene::{FAMILIES, Scene};

super::scenarios!(
    a_weight_is_a_backends_share,
    a_clients_address_decides_and_goes_on_to_when_another_port_changes,
    a_client_of_a_removed_backend_moves_and_the_others_stay,
    a_new_connection_goes_where_the_fewest_are,
    affinity_keeps_a_client_with_its_backend,
);

/// The hosts that more clients' addresses have, on the client's interface.
const HOSTS: std::ops::Range<u8> = 20..60;

/// A port with these options, with both apps behind it.
fn port(scene: &Scene, name: &str, options: &[&str]) -> SocketAddr {
    let to = scene.port(name);
    scene
        .agent
        .ctl(&[&["ports", "set", name], options].concat())
        .ok();
    to
}

/// Gives the client's host more addresses.
fn clients(scene: &Scene, family: Family) -> Vec<IpAddr> {
    let hosts: Vec<IpAddr> = HOSTS
        .map(|host| scene.lab.client_host(family, host))
        .collect();
    let (bits, nodad) = match family {
        Family::V4 => (24, ""),
        Family::V6 => (64, "nodad"),
    };
    let lines: Vec<String> = (hosts.iter())
        .map(|host| format!("addr add {host}/{bits} dev eth0 {nodad}"))
        .collect();
    scene.lab.client.ip(&lines.join("\n"));
    hosts
}

/// Who serves each of these clients.
fn served(scene: &Scene, clients: &[IpAddr], to: SocketAddr) -> Vec<String> {
    scene.lab.client.enter(|| {
        let connect = |host: &IpAddr| greeting(SocketAddr::new(*host, 0), to, End::Order).unwrap();
        clients.iter().map(connect).collect()
    })
}

fn a_weight_is_a_backends_share(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let number = scene.agent.create(&["web"]);
        let [heavy, light] = [0, 1].map(|index| scene.app(index).to_string());
        let add = ["backends", "add", "web"];
        scene
            .agent
            .ctl(&[&add[..], &[&heavy, "--weight", "3"]].concat())
            .ok();
        scene
            .agent
            .ctl(&[&add[..], &[&light, "--weight", "1"]].concat())
            .ok();
        let tally = traffic::connect(&scene.lab.client, scene.at(number), 80);
        let shares = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(shares, (60, 20, 0), "{tally:?}");
    }
}

fn a_clients_address_decides_and_goes_on_to_when_another_port_changes(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = port(&scene, "web", &["policy=source-hash"]);
        let clients = clients(&scene, family);
        let first = served(&scene, &clients, to);
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        first
            .iter()
            .for_each(|name| *shares.entry(name).or_default() += 1);
        println!("{family:?}: {shares:?}");
        assert!(
            shares.values().all(|share| *share >= clients.len() / 8),
            "{shares:?}"
        );
        assert_eq!(served(&scene, &clients, to), first);
        port(&scene, "api", &["policy=source-hash"]);
        let beside = scene.app(0).to_string();
        scene.agent.ctl(&["backends", "drain", "api", &beside]).ok();
        scene.agent.ctl(&["ports", "delete", "api", "--yes"]).ok();
        assert_eq!(served(&scene, &clients, to), first);
    }
}

fn a_client_of_a_removed_backend_moves_and_the_others_stay(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = port(&scene, "web", &["policy=source-hash"]);
        let clients = clients(&scene, family);
        let gone = scene.app(0).to_string();
        scene
            .agent
            .ctl(&["backends", "remove", "web", &gone, "--now"])
            .ok();
        let all = served(&scene, &clients, to);
        assert!(all.iter().all(|name| name == "app2"), "{all:?}");
    }
}

fn a_new_connection_goes_where_the_fewest_are(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let app = scene.app(0).to_string();
        let number = scene.agent.create(&["web", "--backend", &app]);
        let to = scene.at(number);
        scene
            .agent
            .ctl(&["ports", "set", "web", "policy=least-flows"])
            .ok();
        let old = Live::open(&scene.lab.client, to, 10);
        let other = scene.app(1).to_string();
        scene.agent.ctl(&["backends", "add", "web", &other]).ok();
        let new = Live::open(&scene.lab.client, to, 10);
        let tally = new.finish();
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
        let tally = old.finish();
        assert_eq!((tally.of("app1"), tally.errors.len()), (10, 0), "{tally:?}");
    }
}

fn affinity_keeps_a_client_with_its_backend(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = port(&scene, "web", &["affinity_s=600"]);
        let clients = clients(&scene, family);
        let first = served(&scene, &clients, to);
        let of_one = first.iter().filter(|name| *name == "app1").count();
        assert_eq!(
            of_one,
            clients.len() / 2,
            "each client's first takes its turn"
        );
        for _ in 0..3 {
            assert_eq!(served(&scene, &clients, to), first);
        }
    }
}
