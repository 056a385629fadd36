//! Conversations in random order: open, answer, speak, close, reset, wait, and backends that come and
//! go; after each step packet, verdict and the kernel's own state of the flow are what the model says.

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use harbor_common::flow::{Flow as Entries, Phase};
use kit::{
    Family, eventually,
    frame::{Checksum, Tcp, Transport, Udp, flag, protocol},
};

use super::{
    Ground, Hooks, Side,
    flow::{Flow, Is, Key, Way},
    fuzz::step,
    generate::{inbound, outbound},
    random::Random,
    tables::Tables,
    world::{Backend, State, World},
};
use crate::scene::FAMILIES;

/// Sequences of each kind in CI.
const SEQUENCES: u64 = 1_000;
const STEPS: usize = 40;

/// The port whose backends come and go, and its name.
const CHANGING: (u16, &str) = (35_012, "both-sip");
const PORTS: [u16; 4] = [35_010, 35_011, 35_012, 35_013];

#[test]
fn flows_go_through_their_states_as_the_contract_says() {
    run(&Ground::new(Hooks::Tc), SEQUENCES);
}

#[test]
fn flows_go_through_their_states_through_xdp_and_tc_in_tandem() {
    let ground = Ground::new(Hooks::Tandem);
    run(&ground, SEQUENCES);
    assert!(ground.taken() > SEQUENCES, "{} frames", ground.taken());
}

#[test]
fn flows_go_through_their_states_in_a_table_that_is_nearly_always_full() {
    run(&crowded(Hooks::Tc), SEQUENCES);
}

/// Half in tables of the usual size, half in small ones.
pub(crate) fn run_both(hooks: Hooks, sequences: u64) {
    run(&Ground::new(hooks), sequences / 2);
    run(&crowded(hooks), sequences / 2);
}

fn crowded(hooks: Hooks) -> Ground {
    Ground::with(hooks, 1_024)
}

/// Plays so many sequences, unless `HARBOR_FUZZ_SEQUENCES` says otherwise.
fn run(ground: &Ground, sequences: u64) {
    let count = env::var("HARBOR_FUZZ_SEQUENCES").ok();
    let count = count.and_then(|text| text.parse().ok());
    Play::new(ground).run(count.unwrap_or(sequences));
}

/// A world, the node that it is held against, and the conversation that goes on.
struct Play<'a> {
    ground: &'a Ground,
    world: World,
    tables: Tables,
    random: Random,
    /// The client's end and the public one.
    key: Key,
    /// What was done in this sequence.
    log: Vec<String>,
}

impl<'a> Play<'a> {
    fn new(ground: &'a Ground) -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = number("HARBOR_FUZZ_SEED").unwrap_or_else(super::fuzz::fresh);
        let nowhere = SocketAddr::new(Family::V4.any(), 0);
        Self {
            ground,
            world: ground.world(),
            tables: Tables::open(&ground.lab),
            random: Random(seed),
            key: Key {
                protocol: protocol::TCP,
                from: nowhere,
                to: nowhere,
            },
            log: vec![format!("HARBOR_FUZZ_SEED={seed}")],
        }
    }

    fn run(mut self, count: u64) {
        let node = self.ground.lab.node.clone();
        for number in 0..count {
            self.log.truncate(1);
            self.begin();
            // Commands of the agent are run outside: they enter the namespace themselves.
            for _ in 0..STEPS {
                node.enter(|| self.act());
                self.hold();
            }
            if number % 20 == 19 {
                self.change();
            }
        }
        self.drain();
    }

    /// Another conversation: sometimes with the ends of an old one.
    fn begin(&mut self) {
        let family = self.random.of(&FAMILIES);
        let lab = &self.ground.lab;
        let port = self.random.of(&PORTS);
        let protocols: Vec<u8> = [protocol::TCP, protocol::UDP]
            .into_iter()
            .filter(|protocol| self.world.frontends.contains_key(&(*protocol, port)))
            .collect();
        let client = lab.client_host(family, 30 + self.random.below(10) as u8);
        self.key = Key {
            protocol: self.random.of(&protocols),
            from: SocketAddr::new(client, 20_000 + self.random.below(400) as u16),
            to: SocketAddr::new(lab.public(family), port),
        };
    }

    fn flow(&self) -> Option<Flow> {
        let (id, _) = self.world.keys.get(&self.key)?;
        self.world.flows.get(id).cloned()
    }

    fn act(&mut self) {
        let flow = self.flow();
        match (flow, self.key.protocol, self.random.below(20)) {
            (None, protocol::TCP, _) => self.open(),
            (_, protocol::UDP, 0..9) => self.datagram(Way::Forward),
            (Some(_), protocol::UDP, 9..17) => self.datagram(Way::Reply),
            (Some(flow), protocol::UDP, _) => self.wait(&flow),
            (None, ..) => self.datagram(Way::Forward),
            (Some(flow), _, 0..9) => self.go_on(&flow),
            (Some(flow), _, 9..11) => self.segment(&flow, Way::Forward, flag::FIN | flag::ACK, 0),
            (Some(flow), _, 11..13) => self.segment(&flow, Way::Reply, flag::FIN | flag::ACK, 0),
            (Some(flow), _, 13) => self.segment(&flow, Way::Forward, flag::RST, 0),
            (Some(flow), _, 14) => self.segment(&flow, Way::Reply, flag::RST | flag::ACK, 0),
            (Some(flow), _, 15) => {
                let way = self.random.of(&[Way::Forward, Way::Reply]);
                self.segment(&flow, way, flag::RST, 0x2000_0000);
            }
            (Some(flow), _, 16) if flow.live == Is::No => {
                self.segment(&flow, Way::Forward, flag::SYN, u32::MAX);
            }
            (Some(_), _, 16 | 17) => self.open(),
            (Some(flow), ..) => self.wait(&flow),
        }
    }

    /// A connection request with a number of its own.
    fn open(&mut self) {
        let tcp = Tcp {
            source: self.key.from.port(),
            destination: self.key.to.port(),
            sequence: self.random.next() as u32,
            acknowledgement: 0,
            flags: flag::SYN,
            options: Vec::new(),
            payload: Vec::new(),
        };
        self.send(Way::Forward, None, Transport::Tcp(tcp));
    }

    /// What comes next in good order.
    fn go_on(&mut self, flow: &Flow) {
        match (flow.live, flow.offered) {
            (Is::No, None) => self.segment(flow, Way::Reply, flag::SYN | flag::ACK, 77),
            (Is::No, Some(_)) => self.segment(flow, Way::Forward, flag::ACK, 0),
            _ => {
                let way = self.random.of(&[Way::Forward, Way::Reply]);
                self.segment(flow, way, flag::ACK | flag::PSH, 0);
            }
        }
    }

    /// A segment whose number is so far ahead of what is expected.
    fn segment(&mut self, flow: &Flow, way: Way, flags: u8, ahead: u32) {
        let backend = self.world.backends[flow.backend].address;
        let (source, destination) = match way {
            Way::Forward => (flow.client.port(), flow.public.port()),
            Way::Reply => (backend.port(), flow.source.port()),
        };
        let length = if flags & flag::PSH != 0 { 20 } else { 0 };
        let tcp = Tcp {
            source,
            destination,
            sequence: flow.next[way.index()].wrapping_add(ahead),
            acknowledgement: match flags & flag::ACK {
                0 => 0,
                _ => flow.next[way.other().index()],
            },
            flags,
            options: Vec::new(),
            payload: vec![7; length],
        };
        self.send(way, Some(flow), Transport::Tcp(tcp));
    }

    fn datagram(&mut self, way: Way) {
        let flow = self.flow();
        let (source, destination) = match (way, &flow) {
            (Way::Reply, Some(flow)) => {
                let backend = self.world.backends[flow.backend].address;
                (backend.port(), flow.source.port())
            }
            _ => (self.key.from.port(), self.key.to.port()),
        };
        let udp = Udp {
            source,
            destination,
            checksum: Checksum::Full,
            payload: vec![7; 20],
        };
        self.send(way, flow.as_ref(), Transport::Udp(udp));
    }

    fn send(&mut self, way: Way, flow: Option<&Flow>, transport: Transport) {
        let (side, frame) = match (way, flow) {
            (Way::Reply, Some(flow)) => {
                let backend = self.world.backends[flow.backend].address.ip();
                (
                    Side::Backend,
                    outbound(backend, flow.source.ip(), transport),
                )
            }
            _ => {
                let frame = inbound(self.key.from.ip(), self.key.to.ip(), transport);
                (Side::Client, frame)
            }
        };
        let bytes = frame.bytes();
        let outcome = self.ground.prober(side).run_here(&bytes);
        self.log
            .push(format!("{way:?} {:?}: {}", frame.packet, outcome.verdict));
        if let Err(wrong) = step(&mut self.world, side, &bytes, &outcome) {
            panic!("{wrong}\n{}", self.log.join("\n"));
        }
    }

    /// Time passes for the flow alone.
    fn wait(&mut self, flow: &Flow) {
        let by = self.random.of(&[800, 1_500, 3_000, 20_000]);
        let by = Duration::from_millis(by);
        let backend = self.world.backends[flow.backend].address;
        for way in [Way::Forward, Way::Reply] {
            self.tables.rewind(&flow.key(way, backend), by);
        }
        let (id, _) = self.world.keys[&self.key];
        let flow = self.world.flows.get_mut(&id).unwrap();
        let back = |instant: Instant| instant.checked_sub(by).unwrap_or(instant);
        (flow.opened, flow.seen) = (back(flow.opened), back(flow.seen));
        self.log.push(format!("{by:?} later"));
    }

    /// The kernel has the flow whole or not at all, and in the state that the model says.
    fn hold(&self) {
        let Some(flow) = self.flow() else { return };
        let backend = self.world.backends[flow.backend].address;
        let look = |way| self.tables.entry(&flow.key(way, backend));
        let mut entries = [look(Way::Forward), look(Way::Reply)];
        // The agent's sweep may end the flow between two looks.
        if entries.iter().flatten().count() == 1 {
            entries = [look(Way::Forward), look(Way::Reply)];
        }
        let shown = || format!("{flow:?}\n{entries:?}\n{}", self.log.join("\n"));
        match entries {
            [Some(forward), Some(reply)] => {
                type E = Entries<harbor_common::addr::Ipv4>;
                assert_eq!(
                    E::cookie(forward.word),
                    E::cookie(reply.word),
                    "{}",
                    shown()
                );
                assert_eq!(
                    (forward.way, reply.way),
                    (Way::Forward, Way::Reply),
                    "{}",
                    shown()
                );
                let phase = Phase::of(forward.word, reply.word);
                if let Some(expected) = expected(&flow) {
                    assert_eq!(phase, expected, "{}", shown());
                }
            }
            [None, None] => assert!(self.world.may_be_gone(&flow), "gone: {}", shown()),
            // Another flow may have taken the source port of one that is over.
            [Some(_), None] | [None, Some(_)] => panic!("half a flow: {}", shown()),
        }
    }

    /// A backend is removed, or one that was removed is added.
    fn change(&mut self) {
        let (port, name) = CHANGING;
        let frontend = &self.world.frontends[&(protocol::TCP, port)];
        let family = self.random.of(&FAMILIES);
        let all: Vec<SocketAddr> = (0..2)
            .map(|index| SocketAddr::new(self.ground.lab.app(family, index), 9_003))
            .collect();
        let takers = self.world.takers(frontend, family);
        let here: Vec<SocketAddr> = takers
            .iter()
            .map(|index| self.world.backends[*index].address)
            .collect();
        let missing = all.iter().find(|address| !here.contains(address)).copied();
        let (address, words) = match missing {
            Some(address) => (address, vec!["backends", "add", name]),
            None => (self.random.of(&here), vec!["backends", "remove", name]),
        };
        let text = address.to_string();
        let end = if missing.is_none() {
            &["--now"][..]
        } else {
            &[]
        };
        self.ground
            .agent
            .ctl(&[&words[..], &[&text], end].concat())
            .ok();
        for protocol in [protocol::TCP, protocol::UDP] {
            self.follow(protocol, port, address, missing.is_some());
        }
    }

    fn follow(&mut self, protocol: u8, port: u16, address: SocketAddr, is_added: bool) {
        let frontend = self.world.frontends.get_mut(&(protocol, port)).unwrap();
        if is_added {
            frontend.backends.push(self.world.backends.len());
            self.world.backends.push(Backend {
                address,
                protocol,
                state: State::Active,
            });
            return;
        }
        for backend in &mut self.world.backends {
            if (backend.address, backend.protocol) == (address, protocol) {
                backend.state = State::Gone;
            }
        }
    }

    /// In the end all flows fall silent, and nothing of them is left.
    fn drain(mut self) {
        let all: Vec<Key> = self.tables.keys();
        for key in &all {
            assert!(self.world.keys.contains_key(key), "nobody knows of {key:?}");
            self.tables.rewind(key, Duration::from_secs(3 * 3_600));
        }
        eventually(Duration::from_secs(30), || self.tables.keys().is_empty());
    }
}

/// The phase of a flow, if the contract leaves no choice.
fn expected(flow: &Flow) -> Option<Phase> {
    let states = [flow.live, flow.reset(), flow.fin[0], flow.fin[1]];
    if states.contains(&Is::Maybe) || flow.is_doubtful {
        return None;
    }
    Some(match flow.protocol {
        protocol::UDP if flow.is_stream => Phase::Stream,
        _ if flow.reset() == Is::Yes => Phase::Reset,
        _ if flow.fin == [Is::Yes; 2] => Phase::Closed,
        _ if flow.live == Is::Yes => Phase::Live,
        _ => Phase::Opening,
    })
}
