//! Backends behind the proxy that answer late, or that only an ICMP error tells of.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use kit::{
    CLIENT_MAC, Config, Family, Lab, NODE_MAC, Wire, eventually,
    frame::{Checksum, Frame, Icmp, Transport, Udp},
    traffic,
};

use crate::{
    engines::Engine,
    scene::{APP_PORT, FAMILIES, Scene},
};

const SOON: Duration = Duration::from_secs(15);

/// A scene of this family that the proxy serves alone.
fn scene(family: Family) -> Scene {
    Engine::Proxy.routed().of(family)
}

#[test]
fn the_only_backend_is_asked_again_when_a_syn_is_lost() {
    for family in FAMILIES {
        let scene = scene(family);
        let port = scene
            .agent
            .create(&["web", "--backend", &scene.app(0).to_string()]);
        // Lets no SYN through that is not a repetition: one a second is beyond the rate.
        scene.lab.apps[0].nft("add table inet lossy");
        scene.lab.apps[0].nft("add chain inet lossy in { type filter hook input priority 0; }");
        scene.lab.apps[0].nft("add counter inet lossy lost");
        let first = "tcp flags syn meter seen { tcp sport timeout 30s limit rate over 1/hour burst 1 packets } accept";
        scene.lab.apps[0].nft(&format!("add rule inet lossy in {first}"));
        scene.lab.apps[0].nft("add rule inet lossy in tcp flags syn counter name lost drop");
        let tally = traffic::connect(&scene.lab.client, scene.at(port), 2);
        assert_eq!((tally.of("app1"), tally.errors.len()), (2, 0), "{tally:?}");
        let mut list = scene.lab.apps[0].command("nft");
        let lost = list.args(["list", "counters"]).output().unwrap();
        let lost = String::from_utf8_lossy(&lost.stdout).into_owned();
        assert!(lost.contains("packets 2 "), "{family:?}: {lost}");
    }
}

/// Datagrams to the first of two backends are answered with an error that is no "port unreachable".
fn moves_on(scene: &Scene, family: Family, dead: SocketAddr) {
    let port = scene.agent.create(&[
        "udp-game",
        "--backend",
        &dead.to_string(),
        "--backend",
        &scene.app(1).to_string(),
    ]);
    let asker = traffic::Asker::new(&scene.lab.client, family);
    eventually(SOON, || {
        let answer = asker.try_ask(scene.at(port), b"anybody", Duration::from_millis(300));
        answer.is_some_and(|name| name == "app2")
    });
    for _ in 0..10 {
        assert_eq!(asker.ask(scene.at(port), b"still").unwrap(), "app2");
    }
    let idle = scene.agent.items(&["flows", "list"]);
    assert_eq!(idle.len(), 1, "{idle:?}");
}

#[test]
fn datagrams_leave_a_host_that_nobody_is() {
    for family in FAMILIES {
        let scene = scene(family);
        let nobody = scene.lab.backend_host(family, 99);
        moves_on(&scene, family, SocketAddr::new(nobody, APP_PORT));
    }
}

#[test]
fn datagrams_leave_a_network_that_a_router_does_not_know() {
    for family in FAMILIES {
        let lab = Lab::routed();
        lab.apps[0].set("net/ipv4/ip_forward", "1");
        lab.apps[0].set("net/ipv6/conf/all/forwarding", "1");
        let (network, host) = match family {
            Family::V4 => ("10.99.0.0/24", "10.99.0.9"),
            Family::V6 => ("fd99::/64", "fd99::9"),
        };
        let router = lab.app(family, 0);
        lab.node.ip(&format!("route add {network} via {router}"));
        let scene = Engine::Proxy.on(lab, &Config::default()).of(family);
        moves_on(
            &scene,
            family,
            SocketAddr::new(host.parse().unwrap(), APP_PORT),
        );
    }
}

#[test]
fn errors_that_quote_nothing_that_was_sent_move_no_flow() {
    for family in FAMILIES {
        let scene = scene(family);
        let game = scene.port("udp-game");
        let asker = traffic::Asker::new(&scene.lab.client, family);
        assert_eq!(asker.ask(game, b"who is there").unwrap(), "app1");
        let wire = Wire::open(&scene.lab.client, "eth0");
        let (node, app) = (scene.lab.translation(family), scene.app(0));
        let nobody = scene.lab.client_host(family, 66);
        // Every number that a socket of the proxy may have: from the backend's own address that nobody
        // listens, and from a stranger's that its host is not there.
        for source in 32_768..=60_999 {
            let datagram = |payload: &[u8]| {
                let udp = Transport::Udp(Udp {
                    source,
                    destination: app.port(),
                    checksum: Checksum::Full,
                    payload: payload.to_vec(),
                });
                Frame::ip(NODE_MAC, CLIENT_MAC, (node, app.ip()), udp).bytes()[14..].to_vec()
            };
            let whole = datagram(b"somebody else's");
            let header = whole.len() - b"somebody else's".len();
            for (from, message) in [
                (app.ip(), Icmp::no_port(family, &whole)),
                (nobody, Icmp::no_host(family, &whole[..header])),
            ] {
                let message = Transport::Icmp(message);
                wire.send(&Frame::ip(NODE_MAC, CLIENT_MAC, (from, node), message).bytes());
            }
        }
        for _ in 0..10 {
            assert_eq!(
                asker.ask(game, b"still there").unwrap(),
                "app1",
                "{family:?}"
            );
        }
        let events = scene.agent.items(&["events", "--kind", "backend_ejected"]);
        assert!(events.is_empty(), "{family:?}: {events:?}");
    }
}

/// How many established connections of a port the kernel watches, by a table of proc_net_tcp: state
/// 01 is established, and timer 02 is keepalive's.
fn watched(port: u16, table: &str) -> usize {
    let port = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect());
    let is_watched = |fields: &Vec<&str>| {
        let is_meant = |end: usize| fields[end].ends_with(&port);
        fields.len() > 5
            && fields[3] == "01"
            && fields[5].starts_with("02")
            && (is_meant(1) || is_meant(2))
    };
    lines.filter(is_watched).count()
}

#[test]
fn the_kernel_looks_after_silent_connections_on_both_sides() {
    for family in FAMILIES {
        let scene = scene(family);
        let to = scene.port("web");
        let idle = scene.lab.client.enter(|| TcpStream::connect(to)).unwrap();
        let backend_side = match family {
            Family::V4 => "/proc/thread-self/net/tcp",
            Family::V6 => "/proc/thread-self/net/tcp6",
        };
        for (port, file) in [
            (to.port(), "/proc/thread-self/net/tcp6"),
            (APP_PORT, backend_side),
        ] {
            eventually(SOON, || {
                let table = scene.lab.node.enter(|| fs::read_to_string(file).unwrap());
                watched(port, &table) == 1
            });
        }
        drop(idle);
    }
}
