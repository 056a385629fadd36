//! Fragments in any order: the programs forward all of a datagram or leave all of it to the stack.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use aya::maps::{HashMap, Map, MapData};
use harbor_common::{
    fragment::{FragmentKey, FragmentWay},
    maps::FRAGMENTS,
    protocol::Protocol,
};
use kit::{
    CLIENT_MAC, NODE_MAC,
    frame::{Frame, Tcp, Transport, flag, fragments},
    verdict::Action,
};

use super::bench::{APP_PORT, Bench, Side, UDP_PORT, datagram};
use crate::scene::FAMILIES;

/// Octets of each fragment.
const PART: usize = 24;
const BODY: [u8; 80] = [7; 80];

fn parts(frame: &Frame, id: u32) -> Vec<Vec<u8>> {
    let parts = fragments(frame, PART, id);
    parts.iter().map(Frame::bytes).collect()
}

/// Asserts that all of these are counted under this name, and leave as they came if it is no "forward".
#[track_caller]
fn all_are(bench: &Bench, side: Side, verdict: &str, frames: &[&Vec<u8>]) {
    for frame in frames {
        let outcome = bench.run(side, frame);
        assert_eq!(outcome.verdict, verdict, "{outcome:?}");
        assert!(verdict == "forward" || outcome.frame == **frame);
    }
}

#[test]
fn a_datagram_whose_later_fragment_comes_first_is_the_stacks_and_has_its_flow_all_the_same() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let port = bench.client_port();
        let question = bench.to_node(datagram(port, UDP_PORT, &BODY));
        let early = parts(&question, 1);
        all_are(
            &bench,
            Side::Client,
            "fragment",
            &[&early[2], &early[0], &early[1], &early[3]],
        );
        let flows = bench.agent.items(&["flows", "list"]);
        assert_eq!(flows.len(), 1, "{flows:?}");
        let source: std::net::SocketAddr = flows[0]["source"].as_str().unwrap().parse().unwrap();

        let orderly = parts(&question, 2);
        let orderly: Vec<_> = orderly.iter().collect();
        all_are(&bench, Side::Client, "forward", &orderly);

        let backend = flows[0]["backend"].as_str().unwrap().parse();
        let backend: std::net::SocketAddr = backend.unwrap();
        let reply = datagram(APP_PORT, source.port(), &BODY);
        let reply = parts(&bench.host_frame(backend.ip(), reply), 1);
        all_are(
            &bench,
            Side::Backend,
            "fragment",
            &[&reply[1], &reply[0], &reply[2]],
        );
    }
}

/// The identification that a fragment left with.
fn identification(frame: &[u8]) -> u32 {
    match frame[14] >> 4 {
        4 => u16::from_be_bytes(frame[18..20].try_into().unwrap()).into(),
        // The fragment header follows the fixed one.
        _ => u32::from_be_bytes(frame[58..62].try_into().unwrap()),
    }
}

#[test]
fn datagrams_of_clients_that_count_alike_leave_with_identifications_of_their_own() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let clients = [bench.client(), bench.lab.client_host(family, 77)];
        let mut given = std::collections::HashSet::new();
        for _ in 0..30 {
            let port = bench.client_port();
            let both = clients.map(|client| {
                let addresses = (client, bench.public());
                let question = datagram(port, UDP_PORT, &BODY);
                parts(&Frame::ip(NODE_MAC, CLIENT_MAC, addresses, question), 7)
            });
            // One after the other in turn, as two clients' packets come.
            let mut ids = [Vec::new(), Vec::new()];
            let [one, other] = both;
            for pair in one.iter().zip(&other) {
                for (frame, ids) in [pair.0, pair.1].into_iter().zip(&mut ids) {
                    let outcome = bench.run(Side::Client, frame);
                    assert_eq!(outcome.verdict, "forward");
                    ids.push(identification(&outcome.frame));
                }
            }
            for ids in ids {
                assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
                assert!(given.insert(ids[0]), "{} was given twice", ids[0]);
            }
        }
    }
}

#[test]
fn what_the_first_fragment_is_dropped_for_it_is_dropped_for_after_a_later_one_too() {
    let bench = Bench::plain(kit::V4);
    let old = bench.to_node(datagram(bench.client_port(), UDP_PORT, &BODY));
    bench.forward(Side::Client, &old.bytes());
    let early = parts(&old.ttl(1), 1);
    all_are(&bench, Side::Client, "fragment", &[&early[1]]);
    assert_eq!(bench.run(Side::Client, &early[0]).verdict, "ttl-expired");
}

#[test]
fn a_segment_is_never_left_to_the_stack_for_an_early_fragment() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let talk = bench.established();
        let segment = bench.to_node(Transport::Tcp(Tcp {
            payload: BODY.to_vec(),
            flags: flag::ACK | flag::PSH,
            ..talk.request()
        }));
        let early = parts(&segment, 1);
        all_are(&bench, Side::Client, "fragment", &[&early[1]]);
        all_are(&bench, Side::Client, "forward", &[&early[0], &early[1]]);
    }
}

/// What fragments have left behind.
struct Left {
    table: HashMap<MapData, FragmentKey, FragmentWay>,
    from: FragmentKey,
}

impl Left {
    fn open(bench: &Bench) -> Self {
        let data = MapData::from_pin(bench.lab.maps().join(FRAGMENTS)).unwrap();
        Self {
            table: Map::LruHashMap(data).try_into().unwrap(),
            from: FragmentKey {
                source: bench.client().into(),
                destination: bench.public().into(),
                identification: 0,
                protocol: Protocol::Udp.number(),
            },
        }
    }

    /// Leaves a way, or a mark, that is as old as can be.
    fn age(&mut self, identification: u32, direction: u32) {
        let key = FragmentKey {
            identification,
            ..self.from
        };
        let way = FragmentWay {
            seen_ns: 1,
            direction,
            ..FragmentWay::default()
        };
        self.table.insert(key, way, 0).unwrap();
    }
}

#[test]
fn what_an_earlier_datagram_of_the_same_number_has_left_behind_counts_for_nothing() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let mut left = Left::open(&bench);
        let question = bench.to_node(datagram(bench.client_port(), UDP_PORT, &BODY));
        for (id, direction) in [(1, FragmentWay::STACK), (2, 1)] {
            left.age(id, direction);
            let parts = parts(&question, id);
            let all: Vec<_> = parts.iter().collect();
            all_are(&bench, Side::Client, "forward", &all);
        }
        for (id, direction) in [(3, FragmentWay::STACK), (4, 1)] {
            left.age(id, direction);
            let parts = parts(&question, id);
            all_are(
                &bench,
                Side::Client,
                "fragment",
                &[&parts[1], &parts[0], &parts[2]],
            );
        }
    }
}

/// Datagrams of a turn, of which the first two fragments are taken at once; and turns.
const DATAGRAMS: u32 = 3_000;
const TURNS: u32 = 4;

#[test]
fn two_processors_never_part_a_datagram() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        let question = bench.to_node(datagram(bench.client_port(), UDP_PORT, &BODY));
        let mut left = Left::open(&bench);
        for turn in 0..TURNS {
            let ids = turn * DATAGRAMS..(turn + 1) * DATAGRAMS;
            // Of every other one, something old is in the way.
            for id in ids.clone().step_by(2) {
                left.age(id, (id / 2) % 2);
            }
            let datagrams: Vec<_> = ids.map(|id| parts(&question, id)).collect();
            let [first, later] = at_once(&bench, &datagrams);
            let parted = first.iter().zip(&later).filter(|(a, b)| a != b).count();
            assert_eq!(parted, 0, "{family:?}");
            for action in [Action::Redirect, Action::Pass] {
                let count = first.iter().filter(|first| **first == action).count();
                println!("{family:?}: {count} times {action:?}");
            }
        }
    }
}

/// What becomes of the first two fragments of each datagram, taken by two threads side by side.
fn at_once(bench: &Bench, datagrams: &[Vec<Vec<u8>>]) -> [Vec<Action>; 2] {
    let begun = AtomicUsize::new(0);
    let take = |part: usize| {
        let prober = bench.prober(Side::Client);
        let acted = datagrams.iter().enumerate().map(|(index, datagram)| {
            begun.fetch_add(1, Ordering::SeqCst);
            while begun.load(Ordering::SeqCst) < 2 * (index + 1) {
                thread::yield_now();
            }
            prober.act(&datagram[part])
        });
        acted.collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|part| {
            let (node, take) = (bench.lab.node.clone(), &take);
            scope.spawn(move || node.enter(|| take(part)))
        });
        threads.map(|thread| thread.join().unwrap())
    })
}
