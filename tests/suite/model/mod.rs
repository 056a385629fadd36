//! An independent answer to "what becomes of this packet?", and the real one held against it.
//!
//! Written from the documents and from the meanings of the verdicts, not from the datapath: packets are
//! read anew, decisions are plain Rust over hash maps, checksums are sums over everything. Where the
//! contract leaves the datapath a choice (a source port, who is evicted when), the model accepts any
//! lawful one and remembers it.

mod answers;
mod check;
mod flow;
pub(crate) mod fuzz;
mod generate;
mod judge;
mod later;
mod message;
mod networks;
mod on_flow;
pub(crate) mod random;
mod reading;
pub(crate) mod sequences;
mod strange;
mod sums;
mod tables;
mod world;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use kit::{
    APP_MACS, Agent, CLIENT_MAC, Config, Family, Lab, NODE_BACKEND_MAC, NODE_MAC, frame::protocol,
    verdict::Prober,
};

use crate::scene::FAMILIES;
use world::{Backend, Frontend, Policy, State, World};

/// Which interface a frame comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

impl Side {
    fn hardware(self) -> [u8; 6] {
        match self {
            Self::Client => NODE_MAC,
            Self::Backend => NODE_BACKEND_MAC,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// A port of the ground: name, number, where its backends listen, and how many of which family.
struct Port {
    name: &'static str,
    number: u16,
    app_port: u16,
    backends: &'static [(Family, u8)],
    is_rough: bool,
}

use Family::{V4, V6};
const BOTH: &[(Family, u8)] = &[(V4, 0), (V4, 1), (V6, 0), (V6, 1)];

/// The ports that frames are sent to.
const PORTS: [Port; 7] = [
    port("web", 35_010, 9_001, BOTH, false),
    port("udp-game", 35_011, 9_002, BOTH, false),
    port("both-sip", 35_012, 9_003, BOTH, true),
    port("both-single", 35_013, 9_004, &[(V4, 0), (V6, 0)], true),
    port("both-empty", 35_014, 9_005, &[], false),
    port("both-four", 35_015, 9_006, &[(V4, 0), (V4, 1)], false),
    port("both-six", 35_016, 9_007, &[(V6, 0), (V6, 1)], false),
];

const fn port(
    name: &'static str,
    number: u16,
    app_port: u16,
    backends: &'static [(Family, u8)],
    is_rough: bool,
) -> Port {
    Port {
        name,
        number,
        app_port,
        backends,
        is_rough,
    }
}

impl Port {
    fn protocols(&self) -> &'static [u8] {
        match self.name {
            name if name.starts_with("udp") => &[protocol::UDP],
            name if name.starts_with("both") => &[protocol::TCP, protocol::UDP],
            _ => &[protocol::TCP],
        }
    }

    fn addresses(&self, lab: &Lab) -> Vec<SocketAddr> {
        let served = |(family, _): &&(Family, u8)| FAMILIES.contains(family);
        let address = |(family, index): &(Family, u8)| {
            SocketAddr::new(lab.app(*family, *index), self.app_port)
        };
        self.backends.iter().filter(served).map(address).collect()
    }
}

/// A node with ports, and its program on both sides.
struct Ground {
    client_side: Prober,
    backend_side: Prober,
    flows: u32,
    agent: Agent,
    lab: Lab,
}

/// Which programs a frame goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hooks {
    /// The one at TC.
    Tc,
    /// The one at XDP, and what that passes through the one at TC.
    Tandem,
}

impl Ground {
    fn new(hooks: Hooks) -> Self {
        Self::with(hooks, harbor_common::maps::DEFAULT_FLOWS as u32)
    }

    /// With tables for so many flows a family.
    fn with(hooks: Hooks, flows: u32) -> Self {
        let lab = Lab::routed();
        let mode = match hooks {
            Hooks::Tc => "tc",
            Hooks::Tandem => "xdp",
        };
        if hooks == Hooks::Tandem {
            lab.finish_frames();
        }
        // The agent asks no backend: each frame that is counted is one of the test's.
        let config = Config::with(&format!(
            "[datapath]\nmode = \"{mode}\"\nflows = {flows}\n[timeouts]\ntcp_established = \"{}s\"\n\
             [policy]\npassive = \"off\"\n[limits]\nflows_per_port = 1000000\n\
             flows_per_client = 1000000\n",
            flow::ESTABLISHED_S
        ));
        let agent = Agent::start_with(&lab, &config);
        for port in &PORTS {
            let addresses: Vec<String> = port
                .addresses(&lab)
                .iter()
                .map(SocketAddr::to_string)
                .collect();
            let number = port.number.to_string();
            let mut words = vec![port.name, "--port", &number];
            words.extend(addresses.iter().flat_map(|address| ["--backend", address]));
            agent.create(&words);
        }
        introduce(&lab);
        Self {
            client_side: Prober::attached(&lab, lab.client_side()),
            backend_side: Prober::attached(&lab, lab.backend_side()),
            flows,
            agent,
            lab,
        }
    }

    /// How many frames never reached TC.
    fn taken(&self) -> u64 {
        self.client_side.taken() + self.backend_side.taken()
    }

    /// What the agent and the programs think of the backends.
    fn condition(&self) -> String {
        let dumped = ["control", "backend_state"].map(|map| self.agent.dump(map));
        let backends = self.agent.items(&["backends", "list"]);
        format!("{dumped:?}\n{backends:?}")
    }

    fn prober(&self, side: Side) -> &Prober {
        match side {
            Side::Client => &self.client_side,
            Side::Backend => &self.backend_side,
        }
    }

    /// The model of this node as it is before the first frame.
    fn world(&self) -> World {
        let lab = &self.lab;
        let mut world = World {
            public: FAMILIES
                .iter()
                .flat_map(|family| [lab.public(*family), lab.translation(*family)])
                .collect(),
            translation: FAMILIES.map(|family| lab.translation(family)).to_vec(),
            range: 10_240..=32_767,
            frontends: HashMap::new(),
            backends: Vec::new(),
            flows: HashMap::new(),
            keys: HashMap::new(),
            parts: HashMap::new(),
            followed: 0,
            hidden: HashSet::new(),
            hidden_at: HashMap::new(),
            former: HashMap::new(),
            begun: 0,
            turns: 0,
            loose: HashMap::new(),
            left: HashMap::new(),
            half_open: world::half_open(self.flows),
            capacity: self.flows as usize,
        };
        for port in &PORTS {
            for protocol in port.protocols() {
                let first = world.backends.len();
                let backend = |address| Backend {
                    address,
                    protocol: *protocol,
                    state: State::Active,
                };
                world
                    .backends
                    .extend(port.addresses(lab).into_iter().map(backend));
                let policy = match *protocol {
                    protocol::UDP => Policy::First,
                    _ => Policy::RoundRobin,
                };
                let frontend = Frontend {
                    policy,
                    backends: (first..world.backends.len()).collect(),
                    is_rough: port.is_rough,
                    ..Frontend::default()
                };
                world.frontends.insert((*protocol, port.number), frontend);
            }
        }
        world
    }
}

/// Tells the node who its neighbours are, for good.
fn introduce(lab: &Lab) {
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let mut lines = String::new();
    for family in Family::BOTH {
        let client = lab.client_address(family);
        let mut add = |address, interface, hardware| {
            lines += &format!(
                "neigh replace {address} lladdr {hardware} dev {interface} nud permanent\n"
            );
        };
        add(client, lab.client_side(), mac(CLIENT_MAC));
        for (index, hardware) in (0..).zip(APP_MACS) {
            add(lab.app(family, index), lab.backend_side(), mac(hardware));
        }
    }
    lab.node.ip(&lines);
}
