//! Datagrams to many hosts at once: a port's number there is not the port.

use std::{fs, net::SocketAddr, time::Duration};

use kit::{V4, eventually, traffic::Asker};

use crate::engines::Engine;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_datagram_to_a_broadcast_address_is_not_ours() {
    let scene = Engine::Proxy.routed();
    let to = scene.port("udp-game");
    let crowds = [[10, 77, 1, 255], [255; 4]].map(|host| SocketAddr::from((host, to.port())));
    scene.lab.client.ip("route add 255.255.255.255 dev eth0");
    // Datagrams that programs of the node have taken: the first number of the second line.
    let taken = || {
        let table = scene
            .lab
            .node
            .enter(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        let line = table.lines().rfind(|line| line.starts_with("Udp:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse::<usize>().unwrap()
    };
    let before = taken();
    let asker = Asker::new(&scene.lab.client, V4).for_crowds();
    for crowd in crowds {
        asker.send(crowd, b"anybody");
    }
    // The proxy has them; what follows is what it has made of them.
    eventually(SOON, || taken() >= before + crowds.len());
    assert_eq!(asker.ask(to, b"you").unwrap(), "app1");
    let port = scene.agent.ctl_json(&["ports", "show", "udp-game"]);
    let counted = &port["counters"][0];
    let counts = [&counted["flows_total"], &counted["forward_packets"]];
    assert_eq!(counts, [1, 1], "{port}");
}
