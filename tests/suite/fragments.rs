//! Datagrams whose fragments come in any order: none is lost, and each leaves with its flow's own
//! tuple, whether the programs forward it or the agent carries it.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use kit::{
    APP_MACS, CLIENT_MAC, Family, NODE_BACKEND_MAC, NODE_MAC, Netns, Wire,
    frame::{Checksum, Frame, Transport, Udp, fragments},
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    model::random::Random,
    scene::{FAMILIES, Scene},
};

/// Questions of each family, as many answers, and who asks.
const DATAGRAMS: usize = 1_000;
const SOAKED: usize = 5_000;
const CLIENTS: usize = 4;
/// The smallest and the largest of them.
const SIZES: (usize, usize) = (100, 60_000);
const WIRE: usize = 1_500;
const PATIENCE: Duration = Duration::from_secs(10);
const APP_PORT: u16 = 9_301;

/// Who sends fragments, over which wire, to the node.
struct Sender {
    wire: Wire,
    hardware: ([u8; 6], [u8; 6]),
    /// What the next datagram is identified by.
    next: AtomicU32,
}

impl Sender {
    fn client(scene: &Scene) -> Self {
        Self::new(&scene.lab.client, (NODE_MAC, CLIENT_MAC))
    }

    fn app(scene: &Scene, index: usize) -> Self {
        Self::new(&scene.lab.apps[index], (NODE_BACKEND_MAC, APP_MACS[index]))
    }

    fn new(host: &Netns, hardware: ([u8; 6], [u8; 6])) -> Self {
        Self {
            wire: Wire::open(host, "eth0"),
            hardware,
            next: AtomicU32::new(1),
        }
    }

    /// Sends a datagram in as many fragments as it takes, shuffled.
    fn send(&self, (from, to): (SocketAddr, SocketAddr), payload: &[u8], random: &mut Random) {
        let datagram = Transport::Udp(Udp {
            source: from.port(),
            destination: to.port(),
            checksum: Checksum::Full,
            payload: payload.to_vec(),
        });
        let (node, own) = self.hardware;
        let whole = Frame::ip(node, own, (from.ip(), to.ip()), datagram);
        // Beside the IP header, and in IPv6 the fragment header.
        let room = WIRE - if from.is_ipv4() { 20 } else { 48 };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut parts = match payload.len() + 8 > room {
            true => fragments(&whole, room, id),
            false => vec![whole],
        };
        for last in (1..parts.len()).rev() {
            parts.swap(last, random.below(last + 1));
        }
        for part in parts {
            self.wire.send(&part.bytes());
        }
    }
}

/// An app: answers each datagram with itself, and notes who has asked it.
struct App<'a> {
    socket: UdpSocket,
    at: SocketAddr,
    index: usize,
    sender: &'a Sender,
}

/// What the apps have seen: of each client, where its datagrams came out.
type Seen = Mutex<BTreeMap<u8, Vec<(usize, SocketAddr)>>>;

impl App<'_> {
    fn run(&self, seen: &Seen, is_over: &AtomicBool) {
        let mut random = Random(self.index as u64);
        let mut buffer = vec![0; 1 << 16];
        let pause = Duration::from_millis(200);
        self.socket.set_read_timeout(Some(pause)).unwrap();
        while !is_over.load(Ordering::Relaxed) {
            let Ok((length, asker)) = self.socket.recv_from(&mut buffer) else {
                continue;
            };
            let payload = &buffer[..length];
            let mut seen = seen.lock().unwrap();
            let ways = seen.entry(payload[0]).or_default();
            if !ways.contains(&(self.index, asker)) {
                ways.push((self.index, asker));
            }
            drop(seen);
            self.sender.send((self.at, asker), payload, &mut random);
        }
    }
}

/// A socket of this host with room for a few of the largest.
fn open(host: &Netns, at: SocketAddr) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind(at)).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
    socket
}

/// One client's questions, each with its answer; how many went without.
fn ask(
    scene: &Scene,
    (sender, to): (&Sender, SocketAddr),
    (client, family): (u8, Family),
    count: usize,
) -> Vec<String> {
    let from = SocketAddr::new(scene.lab.client_address(family), 40_000 + u16::from(client));
    let socket = open(&scene.lab.client, from);
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut random = Random(100 + u64::from(client));
    let mut buffer = vec![0; 1 << 16];
    let mut lost = Vec::new();
    for number in 0..count {
        let size = SIZES.0 + random.below(SIZES.1 - SIZES.0 + 1);
        // One in four fits the wire.
        let size = if random.once_in(4) {
            SIZES.0 + size % 1_300
        } else {
            size
        };
        let mut question = random.bytes(size);
        question[0] = client;
        sender.send((from, to), &question, &mut random);
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length] == question => {}
            Ok(length) => lost.push(format!("{number}: {length} other bytes than {size}")),
            Err(error) => lost.push(format!("{number}: {size} bytes: {error}")),
        }
    }
    lost
}

/// Questions and answers of one family through one port.
fn shuffled(scene: &Scene, family: Family, count: usize) {
    let ats = [0, 1].map(|index| SocketAddr::new(scene.lab.app(family, index), APP_PORT));
    let senders = [0, 1].map(|index| Sender::app(scene, index));
    let apps: Vec<App<'_>> = (ats.iter().zip(&senders).enumerate())
        .map(|(index, (at, sender))| App {
            socket: open(&scene.lab.apps[index], *at),
            at: *at,
            index,
            sender,
        })
        .collect();
    let [one, two] = ats.map(|at| at.to_string());
    let name = format!("udp-{family:?}").to_lowercase();
    let port = scene
        .agent
        .create(&[&name, "--backend", &one, "--backend", &two]);
    let alternate = ["ports", "set", &name, "policy=round-robin"];
    scene.agent.ctl(&alternate).ok();
    let to = SocketAddr::new(scene.lab.public(family), port);
    let (seen, is_over, sender) = (
        Seen::default(),
        AtomicBool::new(false),
        Sender::client(scene),
    );
    let lost: Vec<String> = thread::scope(|scope| {
        for app in &apps {
            scope.spawn(|| app.run(&seen, &is_over));
        }
        let clients: Vec<_> = (0..CLIENTS as u8)
            .map(|client| {
                let sender = &sender;
                let each = count / CLIENTS;
                scope.spawn(move || ask(scene, (sender, to), (client, family), each))
            })
            .collect();
        let lost = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        let lost = lost.collect();
        is_over.store(true, Ordering::Relaxed);
        lost
    });
    assert_eq!(lost, Vec::<String>::new(), "{family:?}");

    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), CLIENTS);
    let flows = scene.agent.items(&["flows", "list"]);
    for (client, ways) in seen {
        let [(app, asker)] = ways[..] else {
            panic!("{family:?}, client {client}: {ways:?}");
        };
        let its = (flows.iter()).filter(|flow| flow["source"] == asker.to_string());
        let backends: Vec<_> = its.map(|flow| flow["backend"].clone()).collect();
        assert_eq!(backends, [ats[app].to_string()], "{family:?}: {flows:?}");
    }
}

/// What the agent has carried: to backends, and to clients.
fn carried(scene: &Scene) -> [u64; 2] {
    let report = scene.agent.ctl_json(&["datapath", "status"]);
    ["requests", "replies"].map(|way| report["carried"][way].as_u64().unwrap())
}

fn shuffled_both_ways(count: usize) {
    let scene = Scene::routed();
    let lab = &scene.lab;
    for host in [&lab.client, &lab.node, &lab.apps[0], &lab.apps[1]] {
        // Linux gives a datagram up when so many fragments of the same sender's others have come
        // between two of its own. A thread that is kept waiting here makes that any number.
        host.set("net/ipv4/ipfrag_max_dist", "0");
    }
    for family in FAMILIES {
        let before = carried(&scene);
        shuffled(&scene, family, count);
        let after = carried(&scene);
        let [requests, replies] = [after[0] - before[0], after[1] - before[1]];
        println!(
            "{family:?}: {count} questions, {requests} carried; {count} answers, {replies} carried"
        );
        assert!(requests > 0 && replies > 0, "all came in order");
    }
}

#[test]
fn datagrams_whose_fragments_come_in_any_order_are_not_lost() {
    shuffled_both_ways(DATAGRAMS);
}

#[test]
#[ignore = "runs for minutes"]
fn soak_fragments_in_any_order() {
    shuffled_both_ways(SOAKED);
}
