//! A client that always comes from the same port: each connection is a new one.

use std::{collections::BTreeMap, net::SocketAddr};

use kit::bound::{End, dial, greeting, reset};

use crate::scene::{FAMILIES, Scene};

/// Connects of each kind, in each family.
const CONNECTS: usize = 1_000;
/// One outside the translation range, and one in it, which the flow keeps towards its backend.
const PORTS: [u16; 2] = [50_000, 20_123];

#[test]
fn a_thousand_connects_from_one_client_port_are_served_in_turn() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        // No socket rests after its end: the port is free at once, and used at once.
        scene.lab.client.set("net/ipv4/tcp_max_tw_buckets", "0");
        for number in PORTS {
            let from = SocketAddr::new(scene.lab.client_address(family), number);
            let served = connects(&scene, from, to, End::Order);
            assert_eq!(served["app1"], CONNECTS / 2, "{served:?}");
            connects(&scene, from, to, End::Reset);
        }
    }
}

/// Connects one after the other, each of which must be served; by whom.
fn connects(scene: &Scene, from: SocketAddr, to: SocketAddr, end: End) -> BTreeMap<String, usize> {
    let mut served = BTreeMap::new();
    scene.lab.client.enter(|| {
        for number in 0..CONNECTS {
            let name = greeting(from, to, end)
                .unwrap_or_else(|error| panic!("{from} {end:?}, connect {number}: {error}"));
            *served.entry(name).or_default() += 1;
        }
    });
    served
}

#[test]
fn a_client_port_whose_flow_has_lost_its_backend_is_served_by_another() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let to = scene.port("web");
        let from = SocketAddr::new(scene.lab.client_address(family), PORTS[0]);
        let stream = scene.lab.client.enter(|| dial(from, to)).unwrap();
        let flows = scene.agent.items(&["flows", "list"]);
        let backend = flows[0]["backend"].as_str().unwrap();
        // The client's end of the connection vanishes: what it says reaches nobody.
        let node = to.ip();
        scene.lab.client.ip(&format!(
            "neigh replace {node} lladdr 02:00:00:00:99:99 dev eth0 nud permanent"
        ));
        reset(&stream).unwrap();
        scene.lab.client.ip(&format!("neigh del {node} dev eth0"));
        let remove = ["backends", "remove", "web", backend, "--now"];
        scene.agent.ctl(&remove).ok();
        let other = usize::from(backend == scene.app(0).to_string());
        let name = scene.lab.client.enter(|| greeting(from, to, End::Order));
        assert_eq!(name.unwrap(), ["app1", "app2"][other], "{family:?}");
    }
}
