//! A node whose flow tables hold as many flows as a test wants. They are written into the maps, as the
//! programs would have left them; no packet made them, and none follows.

use std::net::{IpAddr, SocketAddr};

use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use harbor_common::{
    addr::{Ipv4, Ipv6},
    flow::{Flow, FlowKey},
    protocol::Protocol,
};
use kit::{Agent, Config, Family, Lab, V4, V6};
use nix::libc;
use serde_json::Value;

use crate::scene::{APP_PORT, FAMILIES};

/// Clients' ports; a client has a flow from each.
pub(super) const PER_CLIENT: usize = 1_000;
/// Source ports that are used of each address towards a backend.
const PER_SOURCE: usize = 20_000;
/// The first of them.
const FIRST_SOURCE: usize = 10_240;

/// The ports, and the family of their backends. Three of four flows are IPv4's, but for a few those of
/// `web`.
pub(super) const PORTS: [(&str, Family); 3] = [("web", V4), ("six", V6), ("few", V4)];
/// Flows of the last one.
pub(super) const FEW: usize = 3_000;

pub(super) struct Filled {
    pub(super) agent: Agent,
    pub(super) lab: Lab,
    /// How many flows each port has.
    pub(super) by_port: [usize; 3],
}

/// Where a port's flows go: its public address and frontend slot, and its backends with slot and
/// generation.
struct Route {
    public: SocketAddr,
    slot: u32,
    backends: Vec<(SocketAddr, u32, u32)>,
}

impl Filled {
    /// With half of the tables full at most.
    #[track_caller]
    pub(super) fn with(flows: usize) -> Self {
        let lab = Lab::routed();
        let config = format!("[datapath]\nflows = {}\n", flows * 2);
        let agent = Agent::start_with(&lab, &Config::with(&config));
        for (name, family) in PORTS {
            let app = |index| SocketAddr::new(lab.app(family, index), APP_PORT).to_string();
            agent.create(&[name, "--backend", &app(0), "--backend", &app(1)]);
        }
        let six = flows / 4;
        let filled = Self {
            agent,
            lab,
            by_port: [flows - six - FEW, six, FEW],
        };
        for family in FAMILIES {
            match family {
                V4 => filled.write::<Ipv4>("flows", V4),
                V6 => filled.write::<Ipv6>("flows6", V6),
            }
        }
        filled
    }

    fn write<A: harbor_common::addr::Family>(&self, map: &str, family: Family)
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let data = MapData::from_pin(self.lab.maps().join(map)).unwrap();
        let mut table: HashMap<_, FlowKey<A>, Flow<A>> = Map::HashMap(data).try_into().unwrap();
        let mut number = 0;
        for (place, (name, of)) in PORTS.into_iter().enumerate() {
            if of != family {
                continue;
            }
            let route = self.route(name, family);
            for _ in 0..self.by_port[place] {
                for (key, flow) in entries::<A>(&route, family, number) {
                    table.insert(key, flow, 0).unwrap();
                }
                number += 1;
            }
        }
    }

    fn route(&self, name: &str, family: Family) -> Route {
        let port = self.agent.ctl_json(&["ports", "show", name])["port"].clone();
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        let frontends = self.agent.dump("frontends");
        let own = |row: &&Value| row["value"]["port"] == port && row["value"]["protocol"] == "tcp";
        let frontend = frontends.iter().find(own).unwrap();
        let backends = self.agent.dump("backends");
        let backends = backends.iter().filter(|row| {
            row["value"]["frontend_port"] == port && number(&row["value"]["generation"]) != 0
        });
        let backend = |row: &Value| {
            let address: IpAddr = row["value"]["address"].as_str().unwrap().parse().unwrap();
            let at = SocketAddr::new(address, APP_PORT);
            (at, number(&row["key"]), number(&row["value"]["generation"]))
        };
        let backends: Vec<_> = backends.map(backend).collect();
        assert_eq!(backends.len(), 2, "{name}");
        Route {
            public: SocketAddr::new(self.lab.public(family), number(&port) as u16),
            slot: number(&frontend["value"]["slot"]),
            backends,
        }
    }
}

/// The address of a network that has this number.
fn numbered(family: Family, network: u8, number: usize) -> IpAddr {
    let number = u32::try_from(number).unwrap();
    match family {
        V4 => IpAddr::from((u32::from(network) << 24 | 64 << 16 | number).to_be_bytes()),
        V6 => IpAddr::from([0x2001, 0xdb8, network.into(), 0, 0, 0, 0, number as u16]),
    }
}

/// Both entries of a connection that is established and has carried something.
fn entries<A: harbor_common::addr::Family>(
    route: &Route,
    family: Family,
    number: usize,
) -> [(FlowKey<A>, Flow<A>); 2] {
    let address = |ip: IpAddr| A::of(&ip.into());
    let (backend, slot, generation) = route.backends[number % 2];
    let client = numbered(family, 100, number / PER_CLIENT);
    let client = SocketAddr::new(client, (1_024 + number % PER_CLIENT) as u16);
    let source = numbered(family, 10, 0x1_0000 + number / PER_SOURCE);
    let source = SocketAddr::new(source, (FIRST_SOURCE + number % PER_SOURCE) as u16);
    let protocol = Protocol::Tcp.number();
    let entry = |direction, from: [SocketAddr; 2], to: [SocketAddr; 2]| {
        let key = FlowKey {
            source: address(from[0].ip()),
            destination: address(from[1].ip()),
            source_port: from[0].port(),
            destination_port: from[1].port(),
            protocol,
        };
        let flow = Flow {
            word: (number as u64 + 1) << Flow::<A>::STATE_BITS | Flow::<A>::LIVE,
            seen_ns: now_ns(),
            packets: 10,
            bytes: 1_000,
            source: address(to[0].ip()),
            destination: address(to[1].ip()),
            source_port: to[0].port(),
            destination_port: to[1].port(),
            direction,
            backend: slot,
            backend_generation: generation,
            frontend: route.slot,
            ..Flow::default()
        };
        (key, flow)
    };
    let (inward, outward) = ([client, route.public], [source, backend]);
    let turned = |[from, to]: [SocketAddr; 2]| [to, from];
    [
        entry(Flow::<A>::FORWARD, inward, outward),
        entry(Flow::<A>::REPLY, turned(outward), turned(inward)),
    ]
}

fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes the time into what it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec * 1_000_000_000 + now.tv_nsec).cast_unsigned()
}
