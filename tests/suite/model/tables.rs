//! The flow tables as the kernel has them: whether a flow of the model is there, and in which state.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use harbor_common::{
    addr::{Ipv4, Ipv6},
    flow::{Flow, FlowKey, OPENED_SHIFT},
    maps,
};
use kit::Lab;

use super::flow::{Key, Way};

/// Both tables, opened by their pins.
pub(super) struct Tables {
    flows: HashMap<MapData, FlowKey<Ipv4>, Flow<Ipv4>>,
    flows6: HashMap<MapData, FlowKey<Ipv6>, Flow<Ipv6>>,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Cookie and state.
    pub(super) word: u64,
    pub(super) way: Way,
}

impl Tables {
    pub(super) fn open(lab: &Lab) -> Self {
        let map = |name: &str| {
            let pin = lab.maps().join(name);
            MapData::from_pin(&pin).unwrap_or_else(|error| panic!("{}: {error}", pin.display()))
        };
        Self {
            flows: Map::HashMap(map(maps::FLOWS)).try_into().unwrap(),
            flows6: Map::HashMap(map(maps::FLOWS6)).try_into().unwrap(),
        }
    }

    /// The entry under which packets of this kind are looked up.
    pub(super) fn entry(&self, key: &Key) -> Option<Entry> {
        match (key.from, key.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let flow = self.flows.get(&v4(key.protocol, from, to), 0).ok()?;
                Some(Entry::of(flow.word, flow.direction))
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let flow = self.flows6.get(&v6(key.protocol, from, to), 0).ok()?;
                Some(Entry::of(flow.word, flow.direction))
            }
            _ => None,
        }
    }

    /// Lets this much time pass for a flow: it began so much earlier, and so did its silence.
    pub(super) fn rewind(&mut self, key: &Key, by: Duration) {
        let nanoseconds = by.as_nanos() as u64;
        let ticks = (nanoseconds >> OPENED_SHIFT) as u32;
        match (key.from, key.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let key = v4(key.protocol, from, to);
                if let Ok(mut flow) = self.flows.get(&key, 0) {
                    flow.seen_ns = flow.seen_ns.saturating_sub(nanoseconds);
                    flow.opened = flow.opened.saturating_sub(ticks);
                    // It may end meanwhile; an entry that is no more must not come back.
                    let _ = self.flows.insert(key, flow, EXISTING);
                }
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let key = v6(key.protocol, from, to);
                if let Ok(mut flow) = self.flows6.get(&key, 0) {
                    flow.seen_ns = flow.seen_ns.saturating_sub(nanoseconds);
                    flow.opened = flow.opened.saturating_sub(ticks);
                    let _ = self.flows6.insert(key, flow, EXISTING);
                }
            }
            _ => {}
        }
    }

    /// The keys of all entries of both tables.
    pub(super) fn keys(&self) -> Vec<Key> {
        let v4 = self.flows.keys().flatten().map(|key| Key {
            protocol: key.protocol as u8,
            from: end(Ipv4Addr::from(key.source), key.source_port),
            to: end(Ipv4Addr::from(key.destination), key.destination_port),
        });
        let v6 = self.flows6.keys().flatten().map(|key| Key {
            protocol: key.protocol as u8,
            from: end(Ipv6Addr::from(key.source), key.source_port),
            to: end(Ipv6Addr::from(key.destination), key.destination_port),
        });
        v4.chain(v6).collect()
    }
}

/// `BPF_EXIST`.
const EXISTING: u64 = 2;

impl Entry {
    fn of(word: u64, direction: u16) -> Self {
        let way = match direction {
            Flow::<Ipv4>::FORWARD => Way::Forward,
            _ => Way::Reply,
        };
        Self { word, way }
    }
}

fn v4(protocol: u8, from: SocketAddrV4, to: SocketAddrV4) -> FlowKey<Ipv4> {
    FlowKey {
        source: Ipv4::from(*from.ip()),
        destination: Ipv4::from(*to.ip()),
        source_port: from.port(),
        destination_port: to.port(),
        protocol: protocol.into(),
    }
}

fn v6(protocol: u8, from: SocketAddrV6, to: SocketAddrV6) -> FlowKey<Ipv6> {
    FlowKey {
        source: Ipv6::from(*from.ip()),
        destination: Ipv6::from(*to.ip()),
        source_port: from.port(),
        destination_port: to.port(),
        protocol: protocol.into(),
    }
}

fn end(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}
