//! What the model knows: the node, its ports and backends, and every flow that it has seen begin.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use harbor_common::maps;
use kit::{Family, frame::protocol};

use super::{
    flow::{Flow, Is, Key, Way},
    reading::{Packet, Part},
};

/// A node, and what it does.
pub(super) struct World {
    /// Addresses that frontends answer on.
    pub(super) public: Vec<IpAddr>,
    /// Addresses that backends see, one a family.
    pub(super) translation: Vec<IpAddr>,
    /// Source ports of translated packets.
    pub(super) range: RangeInclusive<u16>,
    /// By protocol number and port.
    pub(super) frontends: HashMap<(u8, u16), Frontend>,
    pub(super) backends: Vec<Backend>,
    pub(super) flows: HashMap<u64, Flow>,
    /// Both directions of every flow, as packets arrive.
    pub(super) keys: HashMap<Key, (u64, Way)>,
    /// Fragmented packets whose first fragment was forwarded.
    pub(super) parts: HashMap<PartKey, Trail>,
    /// The same of flows that may have begun unseen: where their rest goes, if it follows.
    pub(super) loose: HashMap<PartKey, (SocketAddr, SocketAddr)>,
    /// Fragmented datagrams of which a later fragment came first, so that the stack has all of them;
    /// [`World::followed`] when it did, and when that was.
    pub(super) left: HashMap<PartKey, (usize, Instant)>,
    /// How many of all these there have been.
    pub(super) followed: usize,
    /// Datagrams that were too big, or too old, to be sent on: each may have begun a flow all the same.
    pub(super) hidden: HashSet<Key>,
    /// When a flow may last have begun unseen, by protocol and backend.
    pub(super) hidden_at: HashMap<(u8, SocketAddr), Instant>,
    /// Ends that a backend's packets may still leave with: of flows that are over for the model alone.
    pub(super) former: HashMap<Key, (SocketAddr, SocketAddr)>,
    /// Flows that have begun.
    pub(super) begun: u64,
    /// Flows that have begun, and those that were refused for want of room: each of either has had
    /// the oldest half-open flow of its ring make room.
    pub(super) turns: u64,
    /// How many flows may begin before a half-open one can have lost its place.
    pub(super) half_open: u64,
    /// As many flows fit into the tables of one family.
    pub(super) capacity: usize,
}

/// What answers on a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontend {
    pub(super) policy: Policy,
    /// In order of registration; both families.
    pub(super) backends: Vec<usize>,
    /// Who took the last new flow of a family, if it is known for certain.
    pub(super) last: [Option<usize>; 2],
    /// New flows by backend.
    pub(super) taken: HashMap<usize, u64>,
    /// Flows that may have gone to another backend than the one whose turn it was.
    pub(super) elsewhere: u64,
    /// Clients that may not open flows.
    pub(super) denied: Vec<IpAddr>,
    /// Its backends may refuse flows; then it is no longer known who gets the next one.
    pub(super) is_rough: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Policy {
    #[default]
    RoundRobin,
    First,
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    pub(super) protocol: u8,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Gone,
}

/// What the rest of a fragmented packet follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trail {
    pub(super) flow: u64,
    pub(super) way: Way,
    /// The ends that the first part left with.
    pub(super) ends: (SocketAddr, SocketAddr),
    /// [`World::followed`] when it did, and when that was.
    order: usize,
    seen: Instant,
}

/// Source, destination, identification and protocol.
pub(super) type PartKey = (IpAddr, IpAddr, u32, u8);

impl Packet {
    /// What its flow stands under, if it has ports.
    pub(super) fn key(&self) -> Option<Key> {
        let (from, to) = self.ports?;
        Some(Key {
            protocol: self.protocol,
            from: SocketAddr::new(self.source, from),
            to: SocketAddr::new(self.destination, to),
        })
    }
}

impl World {
    /// The flow that a packet belongs to.
    pub(super) fn flow_of(&self, packet: &Packet) -> Option<&Flow> {
        let (id, _) = self.keys.get(&packet.key()?)?;
        self.flows.get(id)
    }

    pub(super) fn own(&self) -> impl Iterator<Item = &IpAddr> {
        self.public.iter().chain(&self.translation)
    }

    pub(super) fn translation(&self, family: Family) -> IpAddr {
        let of = |address: &&IpAddr| Family::of(**address) == family;
        *self.translation.iter().find(of).unwrap()
    }

    /// Whether its place may have been given to another, or its time may be up.
    pub(super) fn may_be_gone(&self, flow: &Flow) -> bool {
        let has_backend = self.backends[flow.backend].state != State::Gone;
        let is_displaced =
            !has_backend || !flow.is_kept() && self.turns - flow.order >= self.half_open;
        let is_taken = || flow.may_be_replaced() && self.may_have_lost_its_port(flow);
        is_displaced || is_taken() || flow.is_doubtful || flow.seen.elapsed() > self.silence(flow)
    }

    /// The shortest silence after which a flow may be forgotten: where room is short, a part of its
    /// timeout.
    fn silence(&self, flow: &Flow) -> Duration {
        let is_tight = self.flows.len() * 10 > self.capacity * 5;
        match is_tight {
            true => flow.silence().min(AT_LEAST),
            false => flow.silence(),
        }
    }

    /// Backends of a frontend that take new flows of a family.
    pub(super) fn takers(&self, frontend: &Frontend, family: Family) -> Vec<usize> {
        let takes = |index: &&usize| {
            let backend = &self.backends[**index];
            backend.state == State::Active && Family::of(backend.address.ip()) == family
        };
        frontend.backends.iter().filter(takes).copied().collect()
    }

    /// Who may get the next flow.
    pub(super) fn candidates(&self, frontend: &Frontend, family: Family) -> Vec<usize> {
        let takers = self.takers(frontend, family);
        let next = match frontend.policy {
            Policy::First if frontend.is_rough => None,
            Policy::First => frontend.last[family as usize].filter(|last| takers.contains(last)),
            // Whose turn it is depends on turns that were used up unseen; in the end all have had
            // the same number.
            Policy::RoundRobin => None,
        };
        next.map_or(takers, |next| vec![next])
    }

    /// It is no longer known who gets the next flow of a port: a turn may have been used up.
    pub(super) fn forget_turn(&mut self, packet: &Packet) {
        let port = packet.ports.map(|(_, to)| (packet.protocol, to));
        if let Some(frontend) = port.and_then(|port| self.frontends.get_mut(&port)) {
            frontend.last = [None; 2];
            frontend.elsewhere += 1;
        }
    }

    /// A packet was too big, or too old, to be sent on.
    pub(super) fn hide(&mut self, packet: &Packet) {
        let is_known = self
            .flow_of(packet)
            .is_some_and(|flow| !self.may_be_gone(flow) && flow.is_refused == Is::No);
        if let Some(key) = packet.key().filter(|_| !is_known) {
            self.hidden.insert(key);
            let frontend = self.frontends.get(&(key.protocol, key.to.port()));
            for index in frontend.iter().flat_map(|frontend| &frontend.backends) {
                let backend = self.backends[*index].address;
                self.hidden_at
                    .insert((key.protocol, backend), Instant::now());
            }
        }
    }

    /// A packet of a flow was not sent on and may have counted all the same: what its flags say, and
    /// how far its numbers go.
    pub(super) fn overhear(&mut self, packet: &Packet) {
        let entry = packet.key().and_then(|key| self.keys.get(&key).copied());
        let Some((id, way)) = entry else { return };
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.overheard(way, packet.tcp);
            // It may have moved first.
            flow.is_doubtful |= flow.is_refused != Is::No && way == Way::Forward;
        }
    }

    /// The packet's flow goes on, or has begun anew in the same place: nobody can tell.
    pub(super) fn doubt(&mut self, packet: &Packet) {
        let entry = packet.key().and_then(|key| self.keys.get(&key).copied());
        if let Some(flow) = entry.and_then(|(id, _)| self.flows.get_mut(&id)) {
            (flow.live, flow.fin, flow.resets) = (Is::Maybe, [Is::Maybe; 2], [Is::Maybe; 2]);
            (flow.is_offer_sure, flow.is_orderly, flow.is_stream) = (false, false, false);
            flow.is_doubtful = true;
        }
    }

    /// A flow begins, by this packet.
    pub(super) fn open(&mut self, packet: &Packet, backend: usize, source: SocketAddr) {
        let (from, to) = packet.ports.unwrap();
        let client = SocketAddr::new(packet.source, from);
        let public = SocketAddr::new(packet.destination, to);
        self.begun += 1;
        self.turns += 1;
        let sequence = packet
            .tcp
            .map_or(0, |tcp| tcp.sequence.wrapping_add(tcp.length));
        let flow = Flow {
            protocol: packet.protocol,
            client,
            public,
            source,
            backend,
            live: Is::No,
            fin: [Is::No; 2],
            resets: [Is::No; 2],
            is_stream: false,
            next: [sequence, 0],
            acknowledged: [0, sequence],
            offered: None,
            is_offer_sure: false,
            is_orderly: true,
            is_refused: Is::No,
            has_moved: Is::No,
            is_heard: false,
            sent: Default::default(),
            is_sent_sure: true,
            is_doubtful: false,
            order: self.turns,
            opened: Instant::now(),
            seen: Instant::now(),
        };
        let id = self.begun;
        if let Some(key) = packet.key() {
            self.hidden.remove(&key);
        }
        for way in [Way::Forward, Way::Reply] {
            let key = flow.key(way, self.backends[backend].address);
            if let Some((former, _)) = self.keys.insert(key, (id, way)) {
                self.end(former);
            }
        }
        self.flows.insert(id, flow);
        if let Some(frontend) = self.frontends.get_mut(&(packet.protocol, to)) {
            frontend.last[packet.family as usize] = Some(backend);
            *frontend.taken.entry(backend).or_default() += 1;
        }
    }

    /// The rest of a fragmented packet goes where its first part went.
    pub(super) fn follow(&mut self, id: u64, way: Way, packet: &Packet) {
        if let (Part::First { id: number }, Some(flow)) = (packet.part, self.flows.get(&id)) {
            let ends = flow.ends(way, self.backends[flow.backend].address);
            let key = (packet.source, packet.destination, number, packet.protocol);
            self.followed += 1;
            let trail = Trail {
                flow: id,
                way,
                ends,
                order: self.followed,
                seen: Instant::now(),
            };
            self.parts.insert(key, trail);
        }
    }

    /// The rest of a fragmented packet may go where its first part went, of a flow that is unknown.
    pub(super) fn follow_unseen(&mut self, packet: &Packet, ends: (SocketAddr, SocketAddr)) {
        if let Part::First { id } = packet.part {
            let key = (packet.source, packet.destination, id, packet.protocol);
            self.loose.insert(key, ends);
        }
    }

    /// Whether a trail is surely still known: not too old, and not displaced by later ones.
    pub(super) fn is_fresh(&self, trail: &Trail) -> bool {
        self.is_known(trail.order, trail.seen)
    }

    /// The same of whatever fragments leave behind.
    pub(super) fn is_known(&self, order: usize, seen: Instant) -> bool {
        let later = self.followed - order;
        later < maps::FRAGMENT_SLOTS / 2 && seen.elapsed() < Duration::from_secs(3)
    }

    /// A flow's backend has refused it.
    pub(super) fn refuse(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.is_refused = Is::Yes;
        }
    }

    /// The flow that has just begun has left a backend, or may have.
    pub(super) fn moved(&mut self, is: Is) {
        if let Some(flow) = self.flows.get_mut(&self.begun) {
            flow.has_moved = is;
        }
    }

    /// A datagram has been sent on with this checksum.
    pub(super) fn sent(&mut self, packet: &Packet, check: u16) {
        let Some((id, way)) = packet.key().and_then(|key| self.keys.get(&key)) else {
            return;
        };
        let flow = self.flows.get_mut(id).unwrap();
        flow.sent[way.index()].push(check);
        // What a device is to finish, or has none, can be known by other things.
        flow.is_sent_sure &= packet.check != 0 && packet.check != 0xffff;
        flow.is_sent_sure &= packet.is_right == Is::Yes;
    }

    /// A flow is over; its keys go, unless they are another one's already.
    pub(super) fn end(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        for way in [Way::Forward, Way::Reply] {
            let key = flow.key(way, self.backends[flow.backend].address);
            if self.keys.get(&key).is_some_and(|(owner, _)| *owner == id) {
                self.keys.remove(&key);
                if way == Way::Reply && self.may_be_gone(&flow) {
                    let ends = flow.ends(way, self.backends[flow.backend].address);
                    self.former.insert(key, ends);
                }
            }
        }
    }

    /// Drops flows that the node must have forgotten: their timeouts have passed for minutes.
    pub(super) fn forget(&mut self) {
        let is_past = |flow: &Flow| flow.seen.elapsed() > flow.longest_silence() + LATE;
        let past: Vec<u64> = (self.flows.iter())
            .filter(|(_, flow)| is_past(flow))
            .map(|(id, _)| *id)
            .collect();
        past.into_iter().for_each(|id| self.end(id));
    }

    /// A packet of a flow has passed.
    pub(super) fn touch(&mut self, id: u64, way: Way, packet: &Packet) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        flow.seen = Instant::now();
        if way == Way::Forward && flow.is_refused == Is::Yes {
            // It may have been forgiven, because nobody else could take it.
            flow.is_refused = Is::Maybe;
        }
        match packet.tcp {
            Some(tcp) => flow.segment(way, tcp, packet.part == Part::Whole),
            None if packet.protocol == protocol::UDP => match way {
                Way::Reply => flow.live = Is::Yes,
                Way::Forward => flow.is_stream |= flow.live == Is::Yes,
            },
            None => {}
        }
    }
}

/// How much later than its timeout a flow may still be there: a sweep that took long, on a machine
/// that has much else to do, is followed by a pause of twenty times as long.
const LATE: Duration = Duration::from_secs(300);

/// No flow is forgotten sooner, however short room is: a second, less what clocks are apart.
const AT_LEAST: Duration = Duration::from_millis(900);

/// How many flows may begin in a table of this size before the oldest half-open one must go.
pub(super) fn half_open(flows: u32) -> u64 {
    // A flow that began anew unseen, in its own place, has taken a place as well: some slack.
    (u64::from(maps::ring_slots(flows) * maps::SHARES_PER_RING) * 7 / 8).max(1)
}
