//! Two CPUs at once on the same tables: no source port is given twice, and no flow is left in halves.

use std::{collections::HashMap, thread};

use aya::maps::{HashMap as Table, Map, MapData};
use harbor_common::{
    addr::{Ip, Ipv4, Ipv6},
    flow::{Flow, FlowKey},
};
use kit::{CLIENT_MAC, NODE_MAC, frame::Frame};

use super::bench::{Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};
use crate::scene::FAMILIES;

/// Flows that each thread opens, in each family.
const FLOWS: u32 = 250_000;

#[test]
fn a_million_flows_opened_by_two_processors_share_no_source_port() {
    for family in FAMILIES {
        let bench = Bench::plain(family);
        // So that no backend's source ports are used by more than half.
        let spread = ["ports", "set", "udp-game", "udp_policy=round-robin"];
        bench.agent.ctl(&spread).ok();
        bench.lab.node.enter(|| {
            thread::scope(|scope| {
                for thread in 0..2 {
                    let bench = &bench;
                    let prober = bench.prober(Side::Client);
                    let node = bench.lab.node.clone();
                    let frames = (0..FLOWS).map(move |number| opening(bench, thread, number));
                    scope.spawn(move || node.enter(|| prober.fire(frames)));
                }
            });
        });
        let totals = bench.totals();
        println!("{family:?}: {totals:?}");
        assert_eq!(totals.get("source-ports"), None, "the range is hardly used");
        assert_eq!(totals.get("flows-full"), None);
        let raced = totals.get("flow-race").copied().unwrap_or_default();
        assert_eq!(totals["forward"] + raced, 2 * u64::from(FLOWS));
        match family {
            kit::V4 => whole::<Ipv4>(&bench, "flows"),
            kit::V6 => whole::<Ipv6>(&bench, "flows6"),
        }
    }
}

/// The first packet of a flow that no other number of either thread has.
fn opening(bench: &Bench, thread: u32, number: u32) -> Vec<u8> {
    let port = 1_024 + (number % 60_000) as u16;
    let host = (2 + 100 * thread + number / 60_000) as u8;
    let transport = match number % 2 {
        0 => syn(port, TCP_PORT),
        _ => datagram(port, UDP_PORT, b"?"),
    };
    let addresses = (bench.lab.client_host(bench.family, host), bench.public());
    Frame::ip(NODE_MAC, CLIENT_MAC, addresses, transport).bytes()
}

/// Every entry has its opposite, of the same flow.
fn whole<A: harbor_common::addr::Family>(bench: &Bench, map: &str)
where
    FlowKey<A>: aya::Pod + std::hash::Hash,
    Flow<A>: aya::Pod,
{
    let data = MapData::from_pin(bench.lab.maps().join(map)).unwrap();
    let table: Table<_, FlowKey<A>, Flow<A>> = Map::HashMap(data).try_into().unwrap();
    let entries: HashMap<FlowKey<A>, Flow<A>> = table.iter().map(Result::unwrap).collect();
    assert!(entries.len() > 1_000, "{} entries", entries.len());
    for (key, flow) in &entries {
        let sender: Ip = key.source.ip();
        let Some(opposite) = entries.get(&flow.opposite_key(key.protocol)) else {
            // Where the table takes long to read, flows end meanwhile.
            assert!(table.get(key, 0).is_err(), "half a flow of {sender}");
            continue;
        };
        assert_eq!(
            Flow::<A>::cookie(opposite.word),
            Flow::<A>::cookie(flow.word)
        );
        assert_ne!(opposite.direction, flow.direction);
    }
}
