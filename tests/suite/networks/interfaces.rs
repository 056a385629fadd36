//! Interfaces that are renamed, recreated, not listed, or have no address.

use std::{net::SocketAddr, thread, time::Duration};

use kit::{Config, Lab, V4, V6, eventually, patient, traffic};

use super::{COUNT, Ports};
use crate::{
    engines::Engine,
    scene::{APP_PORT, FAMILIES, Scene},
};

crate::engines::scenarios!(interfaces_that_are_renamed_under_traffic_keep_twenty_live_connections);

fn interfaces_that_are_renamed_under_traffic_keep_twenty_live_connections(engine: Engine) {
    let named = "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n";
    for (config, family) in [("", V4), ("", V6), (named, V4)] {
        let mut scene = engine.on(Lab::routed(), &Config::with(config));
        let ports = Ports::at(&scene, scene.lab.public(family));
        let live = traffic::Live::open(&scene.lab.client, ports.web, 20);
        let has_link = |name: &str| {
            let report = scene.agent.ctl_json_whatever(&["datapath", "status"]);
            let links = report["links"].as_array().unwrap();
            links.iter().any(|link| link["interface"] == name)
        };
        thread::scope(|scope| {
            let renames = scope.spawn(|| {
                for (from, to) in [("eth0", "wan0"), ("eth1", "lan0")] {
                    let line = format!("link set {from} name {to}");
                    scene.lab.node.ip(&line);
                    if engine != Engine::Proxy {
                        eventually(patient(Duration::from_secs(5)), || has_link(to));
                    }
                }
            });
            while !renames.is_finished() {
                live.progress();
            }
            renames.join().unwrap();
        });
        live.progress();
        ports.serve(&scene);
        if engine != Engine::Proxy {
            let status = scene.agent.ctl_json_whatever(&["status"]);
            let expected = if config.is_empty() { "ok" } else { "degraded" };
            assert_eq!(status["datapath"]["state"], expected, "{status}");
        }
        if !config.is_empty() && engine != Engine::Proxy {
            // The next agent finds the programs where its predecessor put them.
            scene.agent.kill();
            scene.agent.restart();
            live.progress();
            ports.serve(&scene);
        }
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn backends_behind_an_interface_that_is_not_listed_are_served_by_the_proxy() {
    let config = Config::with("[node]\ninterfaces = [\"eth0\"]\n");
    let scene = Scene::on(Lab::routed(), &config);
    for family in FAMILIES {
        let ports = Ports::at(&scene, scene.lab.public(family));
        ports.serve(&scene);
        assert_eq!(ports.paths(&scene), ["proxy(route)", "proxy(route)"]);
        let backends = scene.agent.items(&["backends", "list"]);
        assert!(
            backends.iter().all(|item| item["path"] == "proxy(route)"),
            "{backends:?}"
        );
        let reason = backends[0]["path_reason"].as_str().unwrap();
        assert!(reason.contains("eth1"), "{reason}");
        ports.delete(&scene);
    }
}

#[test]
fn a_backend_behind_a_wire_without_addresses_is_served_by_the_kernel() {
    let scene = Scene::on(Lab::routed(), &Config::default());
    let host = scene.lab.another();
    let (node, name) = (&scene.lab.node, host.name().to_owned());
    node.ip(&format!(
        "link add wire type veth peer name wire netns {name}\nlink set wire up"
    ));
    host.ip("link set eth0 down\naddr add 10.77.9.2/32 dev wire\nlink set wire up\nroute add default dev wire");
    node.ip("route add 10.77.9.2/32 dev wire");
    let backend = SocketAddr::from(([10, 77, 9, 2], APP_PORT));
    let _app = traffic::serve(&host, scene.lab.folder(), "contained", &[backend]);
    let ports = Ports::with(&scene, scene.lab.public(V4), &[backend]);
    ports.serve(&scene);
    assert_eq!(ports.paths(&scene), ["tc", "tc"]);
}

#[test]
fn an_interface_that_leaves_for_another_namespace_and_comes_back_is_served_again() {
    let scene = Scene::on(Lab::routed(), &Config::default());
    let ports = FAMILIES.map(|family| Ports::at(&scene, scene.lab.public(family)));
    let away = scene.lab.another();
    let links = || {
        let report = scene.agent.ctl_json_whatever(&["datapath", "status"]);
        report["links"].as_array().unwrap().len()
    };
    assert_eq!(links(), 2);
    away.ip("link set eth0 name spare");
    scene
        .lab
        .node
        .ip(&format!("link set eth0 netns {}", away.name()));
    eventually(Duration::from_secs(5), || links() == 1);
    away.ip(&format!("link set eth0 netns {}", scene.lab.node.name()));
    let mut lines = "link set eth0 up\n".to_owned();
    for family in FAMILIES {
        let (bits, more) = if family == V4 {
            (24, "")
        } else {
            (64, " nodad")
        };
        lines += &format!(
            "addr add {}/{bits} dev eth0{more}\n",
            scene.lab.public(family)
        );
    }
    scene.lab.node.ip(&lines);
    eventually(Duration::from_secs(5), || links() == 2);
    let status = scene.agent.ctl_json_whatever(&["status"]);
    assert_eq!(status["datapath"]["state"], "ok", "{status}");
    for ports in &ports {
        ports.serve(&scene);
        assert_eq!(ports.paths(&scene), ["tc", "tc"]);
    }
}

#[test]
fn a_backend_that_no_route_leads_to_is_unreachable_and_up_once_there_is_one() {
    let scene = Scene::routed();
    for (family, nowhere, network) in [
        (V4, "10.99.0.9:9001", "10.99.0.0/24"),
        (V6, "[fd99::9]:9001", "fd99::/64"),
    ] {
        let near = SocketAddr::new(scene.lab.app(family, 0), APP_PORT).to_string();
        let name = format!("half-{family:?}");
        let words = [&name, "--backend", nowhere, "--backend", &near];
        let port = scene.agent.create(&words);
        let rows = || {
            let items = scene.agent.items(&["backends", "list", &name]);
            let row = |address: &str| {
                let found = items.iter().find(|item| item["address"] == address);
                found.expect("a row of each").clone()
            };
            [row(nowhere), row(&near)]
        };
        let [far, other] = rows();
        assert_eq!(
            (&far["state"], &far["path"]),
            (&"unreachable".into(), &"-".into())
        );
        let reason = far["reason"].as_str().unwrap();
        assert!(reason.contains("no route"), "{reason}");
        assert_eq!(
            (&other["state"], &other["path"]),
            (&"up".into(), &"tc".into())
        );
        let ports = scene.agent.items(&["ports", "list"]);
        let own = ports.iter().find(|item| item["name"] == name.as_str());
        assert_eq!(own.unwrap()["state"], "degraded");
        let to = SocketAddr::new(scene.lab.public(family), port);
        let tally = traffic::connect(&scene.lab.client, to, COUNT);
        assert_eq!((tally.of("app1"), tally.errors.len()), (COUNT, 0));
        let app = scene.lab.app(family, 0);
        scene
            .lab
            .node
            .ip(&format!("route add {network} via {app} dev eth1\n"));
        eventually(patient(Duration::from_secs(30)), || {
            rows()[0]["state"] == "up"
        });
        scene.agent.ctl(&["ports", "delete", &name, "--yes"]).ok();
    }
}
