//! A backend that is slow, one that asks back, and one that fails while no agent lives.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use aya::maps::{Array, Map, MapData};
use harbor_common::{control::Control, maps};
use kit::{
    CLIENT_MAC, Config, Family, NODE_MAC, V4, eventually,
    frame::{Frame, Tcp, Transport, flag},
    verdict::Action,
};

use super::bench::{APP_PORT, Bench, Side, TCP_PORT, syn};
use crate::scene::FAMILIES;

/// After it a SYN that comes again says that its backend is silent.
const A_WHILE: Duration = Duration::from_millis(600);

/// Whether the agent's word no longer holds.
fn has_lapsed(bench: &Bench) -> bool {
    let map = MapData::from_pin(bench.lab.maps().join(maps::CONTROL)).unwrap();
    let map: Array<_, Control> = Map::Array(map).try_into().unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    map.get(&0, 0).unwrap().valid_until_ns < (seconds * 1e9) as u64
}

fn answer(bench: &Bench, backend: IpAddr, port: u16, flags: u8) -> Vec<u8> {
    let segment = Tcp {
        source: APP_PORT,
        destination: port,
        sequence: 7_000,
        acknowledgement: 1_001,
        flags,
        options: Vec::new(),
        payload: Vec::new(),
    };
    bench.host_frame(backend, Transport::Tcp(segment)).bytes()
}

#[test]
fn a_flow_leaves_a_silent_backend_once_and_waits_for_the_next() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with("[policy]\npassive = \"off\"\n"));
        let asked = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
        let first = bench.forward(Side::Client, &asked);
        thread::sleep(A_WHILE);
        let second = bench.forward(Side::Client, &asked);
        assert_ne!(second.destination, first.destination);
        thread::sleep(A_WHILE);
        let third = bench.forward(Side::Client, &asked);
        assert_eq!(third.destination, second.destination);
        let accepted = answer(
            &bench,
            second.destination,
            second.transport.source,
            flag::SYN | flag::ACK,
        );
        bench.forward(Side::Backend, &accepted);
    }
}

#[test]
fn a_challenge_is_an_answer() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let asked = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
        let first = bench.forward(Side::Client, &asked);
        let challenge = answer(&bench, first.destination, first.transport.source, flag::ACK);
        bench.forward(Side::Backend, &challenge);
        thread::sleep(A_WHILE);
        let second = bench.forward(Side::Client, &asked);
        assert_eq!(second.destination, first.destination);
    }
}

#[test]
fn without_an_agent_the_word_of_two_clients_counts_and_that_of_one_does_not() {
    for family in FAMILIES {
        let mut bench = Bench::plain(family);
        bench.agent.kill();
        eventually(Duration::from_secs(20), || has_lapsed(&bench));
        let dead = bench.app(0);
        // Opens a flow; whether its backend is the dead one, which refuses it.
        let opens = |host: u8| {
            // Hosts of one IPv6 network are one client.
            let client = match family {
                V4 => bench.lab.client_host(family, host),
                Family::V6 => format!("2001:db8:{host}::1").parse().unwrap(),
            };
            let frame = bench.to_node(syn(bench.client_port(), TCP_PORT));
            let frame = frame.source(client).bytes();
            let seen = bench.forward(Side::Client, &frame);
            if seen.destination != dead {
                return false;
            }
            let refused = answer(&bench, dead, seen.transport.source, flag::RST | flag::ACK);
            assert_eq!(
                bench.run(Side::Backend, &refused).verdict,
                "backend-refused"
            );
            true
        };
        let count = |host: u8| (0..10).filter(|_| opens(host)).count();
        assert_eq!(count(90), 5, "one client's word, however often");
        thread::sleep(A_WHILE);
        assert!(opens(91) || opens(91), "another's");
        assert_eq!(count(92), 0, "now it is avoided");
    }
}

#[test]
fn numbers_that_leap_are_learnt_anew() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let talk = bench.established();
        let ahead = 16 << 20;
        // The client acknowledges what went by another way.
        let leaps = Tcp {
            acknowledgement: talk.request().acknowledgement.wrapping_add(ahead),
            ..talk.request()
        };
        bench.forward(Side::Client, &bench.to_node(Transport::Tcp(leaps)).bytes());
        let reset = Tcp {
            sequence: talk.reply().sequence.wrapping_add(ahead),
            flags: flag::RST,
            ..talk.reply()
        };
        let reset = bench.reply(&talk, Transport::Tcp(reset)).bytes();
        bench.forward(Side::Backend, &reset);
        let flows = bench.agent.items(&["flows", "list"]);
        assert_eq!(flows[0]["state"], "closed", "{flows:?}");
    }
}

#[test]
fn a_flow_that_was_refused_goes_elsewhere_however_heavy_its_backend_is() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let heavy = SocketAddr::new(bench.app(0), APP_PORT).to_string();
        let add = ["backends", "add", "web", &heavy, "--weight", "100"];
        bench.agent.ctl(&add).ok();
        for _ in 0..20 {
            let frame = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
            let first = bench.forward(Side::Client, &frame);
            if first.destination != bench.app(0) {
                continue;
            }
            let port = first.transport.source;
            let refused = answer(&bench, bench.app(0), port, flag::RST | flag::ACK);
            let outcome = bench.run(Side::Backend, &refused);
            assert_eq!(outcome.verdict, "backend-refused");
            let second = bench.forward(Side::Client, &frame);
            assert_eq!(second.destination, bench.app(1));
        }
    }
}

/// What comes in at a flooded port while a client 300 ms away answers, at 48,000 SYNs a second.
const MEANWHILE: usize = 14_400;

#[test]
fn a_client_far_away_connects_to_a_port_that_is_flooded() {
    let bench = Bench::new();
    let mut random: u32 = 0x2545_f491;
    let mut strange = || -> Vec<u8> {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let [a, b, c, d] = random.to_be_bytes();
        let from = IpAddr::from([10, 77, 1, 3 + a % 250]);
        let port = 32_768 | u16::from_be_bytes([c, d]) ^ u16::from(b & 1);
        let addresses = (from, bench.public());
        let syn = syn(port, TCP_PORT);
        Frame::ip(NODE_MAC, CLIENT_MAC, addresses, syn).bytes()
    };
    for _ in 0..3 {
        let asked = bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes();
        let forwarded = bench.run(Side::Client, &asked);
        assert_eq!(forwarded.verdict, "forward");
        bench.lab.node.enter(|| {
            let prober = bench.prober(Side::Client);
            let taken = (0..MEANWHILE).filter(|_| prober.act(&strange()) == Action::Redirect);
            // Some come from a port that had one before.
            assert!(taken.count() > MEANWHILE * 9 / 10);
        });
        bench.complete(&asked, &forwarded.frame);
    }
}
