//! Datagrams whose sender is not who they say: no port is a way to flood a third party, and two ports
//! never talk to each other.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kit::{
    CLIENT_MAC, Family, NODE_MAC, V4, Wire,
    frame::{Checksum, Frame, Transport, Udp},
};

use super::Engine;
use crate::scene::{FAMILIES, Scene};

super::scenarios!(
    a_datagram_from_one_port_to_another_is_nobodys,
    a_victim_hears_no_more_than_the_cap_and_a_client_that_speaks_again_hears_all,
);

const BACKEND: u16 = 9_301;
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers to each question, and their size.
const ANSWERS: usize = 20;
const ANSWER: usize = 1_000;

/// A backend that answers each question with so many datagrams, and counts the questions. It ends
/// with the test.
fn flooding(scene: &Scene, family: Family, answers: usize) -> Arc<AtomicUsize> {
    let at = SocketAddr::new(scene.lab.app(family, 0), BACKEND);
    let socket = scene.lab.apps[0].enter(|| UdpSocket::bind(at)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::downgrade(&asked);
    thread::spawn(move || {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        while let Some(counter) = counter.upgrade() {
            let Ok((_, sender)) = socket.recv_from(&mut [0; 64]) else {
                continue;
            };
            counter.fetch_add(1, Ordering::Relaxed);
            for _ in 0..answers {
                socket.send_to(&[7; ANSWER], sender).unwrap();
            }
        }
    });
    asked
}

/// A port in front of that backend.
fn port(scene: &Scene, family: Family, name: &str) -> SocketAddr {
    let backend = SocketAddr::new(scene.lab.app(family, 0), BACKEND).to_string();
    let number = scene.agent.create(&[name, "--backend", &backend]);
    SocketAddr::new(scene.lab.public(family), number)
}

/// A datagram on the client's wire, whoever it says that it is from.
fn send(wire: &Wire, from: SocketAddr, to: SocketAddr) {
    let datagram = Udp {
        source: from.port(),
        destination: to.port(),
        checksum: Checksum::Full,
        payload: b"?".to_vec(),
    };
    let addresses = (from.ip(), to.ip());
    let frame = Frame::ip(NODE_MAC, CLIENT_MAC, addresses, Transport::Udp(datagram));
    wire.send(&frame.bytes());
}

fn a_datagram_from_one_port_to_another_is_nobodys(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed();
        // A host that believes its own addresses on the wire: nothing but Harbor stands in the way.
        let node = &scene.lab.node;
        if family == V4 {
            for interface in ["all", "eth0", "eth1"] {
                node.set(&format!("net/ipv4/conf/{interface}/accept_local"), "1");
                node.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "0");
            }
        }
        let asked = flooding(&scene, family, 1);
        let (one, two) = (
            port(&scene, family, "udp-one"),
            port(&scene, family, "udp-two"),
        );
        let wire = Wire::open(&scene.lab.client, "eth0");
        let translation = SocketAddr::new(scene.lab.translation(family), one.port());
        for from in [one, two, translation] {
            send(&wire, from, two);
        }
        // One from a host that is there comes through; what was sent before was judged before.
        let client = SocketAddr::new(scene.lab.client_address(family), 40_000);
        let heard = scene.lab.client.enter(|| UdpSocket::bind(client).unwrap());
        heard.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&wire, client, two);
        let (length, from) = heard.recv_from(&mut [0; 2 * ANSWER]).unwrap();
        assert_eq!((length, from), (ANSWER, two), "{family:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{family:?}");
        let flows = scene.agent.items(&["flows", "list"]);
        assert_eq!(flows.len(), 1, "{family:?}: {flows:?}");
    }
}

fn a_victim_hears_no_more_than_the_cap_and_a_client_that_speaks_again_hears_all(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed();
        let _asked = flooding(&scene, family, ANSWERS);
        let to = port(&scene, family, "udp-game");
        let cap = ["ports", "set", "udp-game", "reply_cap_bytes=1500"];
        scene.agent.ctl(&cap).ok();
        let victim = SocketAddr::new(scene.lab.client_address(family), 40_000);
        let heard = scene.lab.client.enter(|| UdpSocket::bind(victim).unwrap());
        send(&Wire::open(&scene.lab.client, "eth0"), victim, to);
        assert_eq!(datagrams(&heard), 1, "{family:?}");
        // Whoever answers is there.
        heard.send_to(b"?", to).unwrap();
        assert_eq!(datagrams(&heard), ANSWERS, "{family:?}");
    }
}

/// How many datagrams come until it is quiet.
fn datagrams(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut count = 0;
    while socket.recv(&mut [0; 2 * ANSWER]).is_ok() {
        count += 1;
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
    }
    count
}
