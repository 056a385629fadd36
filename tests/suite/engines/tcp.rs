//! TCP through a port: every connection reaches a backend, in turn, whole, and to its end.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use kit::{Config, Lab, V4, eventually, traffic};

use super::Engine;
use crate::scene::{APP_PORT, FAMILIES, Scene};

super::scenarios!(
    connections_go_to_the_backends_in_turn,
    a_half_closed_connection_carries_the_rest,
    a_port_that_was_deleted_answers_no_more_and_ends_its_flows,
    a_backend_that_is_draining_keeps_its_connections_and_takes_no_new_ones,
    a_backend_removed_now_takes_its_connections_with_it_and_no_others,
    flows_are_listed_with_both_ends_while_they_live,
);

fn connections_go_to_the_backends_in_turn(engine: Engine) {
    for scene in [engine.routed(), engine.bridged()] {
        let tally = traffic::connect(&scene.lab.client, scene.port("web"), 100);
        assert_eq!(tally.errors, Vec::<String>::new());
        assert_eq!((tally.of("app1"), tally.of("app2")), (50, 50));
    }
}

#[test]
fn the_node_needs_no_forwarding_and_does_not_switch_it_on() {
    let scene = Scene::routed();
    let tally = traffic::connect(&scene.lab.client, scene.port("web"), 4);
    assert_eq!(tally.errors, Vec::<String>::new());
    for name in [
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/forwarding",
        "net/ipv4/conf/eth0/forwarding",
    ] {
        assert_eq!(scene.lab.node.get(name), "0", "{name}");
    }
}

#[test]
fn nothing_changes_on_a_node_that_routes_too() {
    let scene = Scene::on(Lab::routed().forwarding(), &Config::default());
    for family in FAMILIES {
        let to = |protocol: &str| {
            let name = format!("{protocol}-{family:?}");
            let apps = [0, 1].map(|index| SocketAddr::new(scene.lab.app(family, index), APP_PORT));
            let [one, two] = apps.map(|app| app.to_string());
            let port = scene
                .agent
                .create(&[&name, "--backend", &one, "--backend", &two]);
            SocketAddr::new(scene.lab.public(family), port)
        };
        let (web, dns) = (to("web"), to("udp"));
        let live = traffic::Live::open(&scene.lab.client, web, 10);
        let tally = traffic::connect(&scene.lab.client, web, 100);
        let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(served, (50, 50, 0), "{tally:?}");
        assert_eq!(traffic::ask(&scene.lab.client, dns, 50).of("app1"), 50);
        traffic::transfer(&scene.lab.client, web, 20_000_000).unwrap();
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
        // What no port has is refused by the node, and not sent on.
        let closed = SocketAddr::new(scene.lab.public(family), 39_999);
        let tally = traffic::connect(&scene.lab.client, closed, 1);
        assert!(tally.errors[0].contains("refused"), "{tally:?}");
    }
    assert_eq!(scene.lab.node.get("net/ipv4/ip_forward"), "1");
    assert_eq!(scene.lab.node.get("net/ipv6/conf/all/forwarding"), "1");
}

fn a_half_closed_connection_carries_the_rest(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let rest = scene.lab.client.enter(|| {
        let mut stream = TcpStream::connect_timeout(&to, WAIT).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream
            .write_all(&vec![7; 300_000])
            .unwrap_or_else(|error| panic!("{error}"));
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        rest
    });
    assert_eq!(rest.len(), "app1\n".len() + 300_000);
}

fn a_port_that_was_deleted_answers_no_more_and_ends_its_flows(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, to, 2).errors.len(), 0);
    scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    let tally = traffic::connect(&scene.lab.client, to, 1);
    assert_eq!(tally.errors.len(), 1, "{tally:?}");
    assert!(tally.errors[0].contains("refused"), "{tally:?}");
    eventually(WAIT, || scene.agent.items(&["flows", "list"]).is_empty());
}

fn a_backend_that_is_draining_keeps_its_connections_and_takes_no_new_ones(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 10);
    scene
        .agent
        .ctl(&["backends", "drain", "web", &scene.app(0).to_string()])
        .ok();
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
    live.progress();
    let tally = live.finish();
    assert_eq!(
        (tally.of("app1"), tally.of("app2"), tally.errors.len()),
        (5, 5, 0),
        "{tally:?}"
    );
}

fn a_backend_removed_now_takes_its_connections_with_it_and_no_others(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 10);
    scene
        .agent
        .ctl(&[
            "backends",
            "remove",
            "web",
            &scene.app(0).to_string(),
            "--now",
        ])
        .ok();
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
    let tally = live.finish();
    assert_eq!((tally.of("app2"), tally.errors.len()), (5, 5), "{tally:?}");
}

fn flows_are_listed_with_both_ends_while_they_live(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 3);
    let flows = scene.agent.items(&["flows", "list"]);
    assert_eq!(flows.len(), 3, "{flows:?}");
    for flow in &flows {
        assert_eq!(flow["state"], "live", "{flow}");
        assert_eq!(flow["frontend"], to.to_string(), "{flow}");
        let client = flow["client"].as_str().unwrap();
        assert!(
            client.starts_with(&scene.lab.client_address(V4).to_string()),
            "{flow}"
        );
    }
    assert_eq!(live.finish().errors.len(), 0);
}

#[test]
fn clients_of_a_port_without_a_backend_are_not_sent_anywhere() {
    let lab = Lab::routed();
    let agent = kit::Agent::start(&lab);
    let port = agent.create(&["web"]);
    let to = SocketAddr::new(lab.public(V4), port);
    let refused = lab
        .client
        .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err());
    assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
    let report = agent.ctl_json(&["datapath", "status"]);
    assert!(report.to_string().contains("no-backend"), "{report}");
}

const WAIT: Duration = Duration::from_secs(8);
