//! A rough way to the backends: lost packets, small paths, neighbours and interfaces that come and go.

use std::{net::SocketAddr, time::Duration};

use kit::{Family, V4, eventually, finish, traffic, traffic::transfer, without_offloads};

use crate::{
    engines::{Engine, scenarios},
    scene::{FAMILIES, Scene},
};

scenarios!(
    a_tenth_of_all_packets_may_be_lost_and_every_byte_arrives,
    forgotten_neighbours_are_found_again_while_packets_flow,
    an_interface_that_flaps_or_is_made_anew_serves_again_at_once,
    an_app_host_reaches_its_own_port_through_the_node,
    a_new_address_of_the_node_answers_at_once,
);

fn a_tenth_of_all_packets_may_be_lost_and_every_byte_arrives(engine: Engine) {
    // In both families where the programs do most of the work.
    let families = if engine == Engine::Tc {
        &FAMILIES[..]
    } else {
        &[V4]
    };
    for family in families.iter().copied() {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let rules = "add table inet rough\n\
            add chain inet rough in { type filter hook input priority 0; }\n\
            add rule inet rough in numgen random mod 10 0 drop\n";
        for app in &scene.lab.apps {
            let mut nft = app.command("nft");
            finish(nft.arg(rules)).ok();
        }
        // An echo: every byte goes both ways.
        for _ in 0..2 {
            transfer(&scene.lab.client, to, 10_000_000).unwrap();
        }
    }
}

#[test]
fn a_small_path_on_either_side_is_found_and_used() {
    for family in FAMILIES {
        for side in ["eth0", "eth1"] {
            let scene = Scene::routed().of(family);
            for host in [&scene.lab.client, &scene.lab.apps[0], &scene.lab.apps[1]] {
                without_offloads(host, "eth0");
            }
            // The node's own way is small: what does not fit is answered with what does.
            let network = match (family, side) {
                (V4, "eth0") => "10.77.1.0/24 dev eth0 proto kernel scope link src 10.77.1.1",
                (V4, _) => "10.77.2.0/24 dev eth1 proto kernel scope link src 10.77.2.1",
                (Family::V6, "eth0") => "fd77:1::/64 dev eth0 proto kernel metric 256",
                (Family::V6, _) => "fd77:2::/64 dev eth1 proto kernel metric 256",
            };
            scene
                .lab
                .node
                .ip(&format!("route change {network} mtu 1280"));
            let to = scene.port("web");
            kit::until(Duration::from_secs(10), || {
                let routes = scene.agent.items(&[
                    "datapath",
                    "dump",
                    "routes",
                    "--config",
                    scene.agent.config_file().to_str().unwrap(),
                ]);
                let is_small = |route: &serde_json::Value| route["value"]["mtu"] == 1280;
                routes.iter().any(is_small).then_some(())
            });
            transfer(&scene.lab.client, to, 2_000_000)
                .unwrap_or_else(|error| panic!("{family:?} {side}: {error}"));
        }
    }
}

fn forgotten_neighbours_are_found_again_while_packets_flow(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 20);
        for _ in 0..20 {
            scene.lab.node.ip("neigh flush all");
            live.progress();
        }
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

fn an_interface_that_flaps_or_is_made_anew_serves_again_at_once(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 10);
    for _ in 0..10 {
        scene.lab.node.ip("link set eth0 down\nlink set eth0 up");
    }
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    scene.lab.renew_client_link();
    eventually(Duration::from_secs(5), || {
        traffic::connect(&scene.lab.client, to, 1).errors.is_empty()
    });
}

fn an_app_host_reaches_its_own_port_through_the_node(engine: Engine) {
    for family in FAMILIES {
        for scene in [engine.routed().of(family), engine.bridged().of(family)] {
            let to = scene.port("web");
            if scene.lab.backend_side() != scene.lab.client_side() {
                let via = scene.lab.translation(family);
                scene.lab.apps[0].ip(&format!("route add {} via {via}", to.ip()));
            }
            let tally = traffic::connect(&scene.lab.apps[0], to, 20);
            let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
            assert_eq!(served, (10, 10, 0), "{family:?} {tally:?}");
            let dns = scene.port("udp-dns");
            assert_eq!(traffic::ask(&scene.lab.apps[0], dns, 5).of("app1"), 5);
        }
    }
}

fn a_new_address_of_the_node_answers_at_once(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    scene.lab.node.ip("addr add 10.77.1.200/24 dev eth0");
    let beside = SocketAddr::new("10.77.1.200".parse().unwrap(), to.port());
    eventually(Duration::from_secs(5), || {
        traffic::connect(&scene.lab.client, beside, 1)
            .errors
            .is_empty()
    });
}
