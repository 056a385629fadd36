//! A SYN flood of ten times the table on one port: live connections go on, and so does another port
//! that leads to the same backend.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use kit::{
    CLIENT_MAC, Config, Family, Lab, NODE_MAC, Wire,
    frame::{Frame, Tcp, Transport, flag},
    traffic,
};

use crate::scene::{FAMILIES, Scene};

/// The table of the flooded node; ten times as many SYNs arrive.
const FLOWS: usize = 8_192;
const CONNECTIONS: usize = 100;
const CONNECTS: usize = 100;

#[test]
fn a_syn_flood_of_ten_tables_costs_neither_live_connections_nor_other_ports() {
    for family in FAMILIES {
        let config = Config::with(&format!("[datapath]\nflows = {FLOWS}\n"));
        let scene = Scene::on(Lab::routed(), &config).of(family);
        let flooded = scene.port("web");
        let beside = scene.port("api");
        let idle = traffic::Live::open(&scene.lab.client, flooded, CONNECTIONS);
        let other = traffic::Live::open(&scene.lab.client, beside, CONNECTIONS);

        let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let connects = thread::scope(|scope| {
            scope.spawn(|| flood(&scene, syns(&scene, family, flooded), &ends, &sent));
            while sent.load(Ordering::Relaxed) < FLOWS as u64 / 10 {
                thread::yield_now();
            }
            let tally = connects(&scene, beside);
            while sent.load(Ordering::Relaxed) < 10 * FLOWS as u64 {
                thread::yield_now();
            }
            ends.store(true, Ordering::Relaxed);
            tally
        });
        println!(
            "{family:?}: {} SYNs; {} of {CONNECTS} connects beside it, slowest {:?}",
            sent.load(Ordering::Relaxed),
            connects.0,
            connects.1
        );
        assert_eq!(connects.0, CONNECTS);
        idle.progress();
        other.progress();
        for live in [idle, other] {
            assert_eq!(live.finish().errors, Vec::<String>::new());
        }
    }
}

/// How many connects to a port succeed, and what the slowest took.
fn connects(scene: &Scene, to: SocketAddr) -> (usize, std::time::Duration) {
    let mut slowest = std::time::Duration::ZERO;
    let mut succeeded = 0;
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        succeeded += usize::from(traffic::connect(&scene.lab.client, to, 1).errors.is_empty());
        slowest = slowest.max(begun.elapsed());
    }
    (succeeded, slowest)
}

/// SYNs from all over the clients' network, without end.
pub(crate) fn syns(
    scene: &Scene,
    family: Family,
    to: SocketAddr,
) -> impl Iterator<Item = Vec<u8>> + Send {
    let hosts: Vec<IpAddr> = (3..253)
        .map(|host| scene.lab.client_host(family, host))
        .collect();
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    std::iter::repeat_with(move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let syn = Tcp {
            source: (random >> 16) as u16 | 0x8000,
            destination: to.port(),
            sequence: (random >> 32) as u32,
            acknowledgement: 0,
            flags: flag::SYN,
            options: vec![2, 4, 5, 0xb4],
            payload: Vec::new(),
        };
        let from = hosts[random as usize % hosts.len()];
        Frame::ip(NODE_MAC, CLIENT_MAC, (from, to.ip()), Transport::Tcp(syn)).bytes()
    })
}

/// Sends frames from the client until it is told to end.
pub(crate) fn flood<F: AsRef<[u8]>>(
    scene: &Scene,
    frames: impl Iterator<Item = F>,
    ends: &AtomicBool,
    sent: &AtomicU64,
) {
    let wire = Wire::open(&scene.lab.client, "eth0");
    for frame in frames.take_while(|_| !ends.load(Ordering::Relaxed)) {
        wire.send(frame.as_ref());
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
