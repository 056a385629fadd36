//! The contract: what may become of a frame in a world. Where the contract leaves a choice there are
//! several cases, and where it leaves none there is one.

use std::net::{IpAddr, SocketAddr};

use kit::frame::{flag, protocol};

use super::{
    flow::{Is, Way},
    reading::{Names, Options, Packet, Part, Reading, read},
    world::{Frontend, State, World},
};

/// The largest packet that the lab's links take.
pub(super) const MTU: usize = 1500;

/// Something that may become of a frame.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The names under which it may be counted.
    pub(super) names: Names,
    pub(super) out: Out,
    /// What the world is like afterwards.
    pub(super) then: Vec<Step>,
}

/// What comes out.
#[derive(Clone, Debug)]
pub(super) enum Out {
    /// The frame as it was: passed or dropped, as the name says.
    Same,
    /// The packet between other ends; without ports for a later fragment.
    Between(SocketAddr, SocketAddr),
    /// The packet to one of these backends, from a source port of the subject's choice.
    Opened(Vec<usize>),
    /// The ICMP error between other ends, quoting a packet between other ends.
    Quoting {
        outer: (IpAddr, IpAddr),
        inner: (SocketAddr, SocketAddr),
        /// No smaller size is told.
        least: u16,
    },
    /// A TCP reset to the sender.
    Reset,
    /// An ICMP error to the sender: its time is up.
    Expired,
    /// An ICMP error to the sender: it is too big.
    TooBig,
}

/// A change of the world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A flow ends.
    End(u64),
    /// A packet of a flow passed.
    Touch(u64, Way),
    /// A flow began.
    Open,
    /// The rest of a fragmented packet follows this flow.
    Follow(u64, Way),
    /// A flow's backend has refused it: its client's next packet goes to another.
    Refuse(u64),
    /// The flow that has just begun has left a backend that did not answer, or may have.
    Move(Is),
    /// The flow has gone elsewhere than its port's turn says.
    Elsewhere,
}

impl Case {
    /// Whether the world afterwards is another one than after that case.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let ends = |case: &Self| case.then.iter().any(|step| matches!(step, Step::End(_)));
        ends(self) != ends(other)
    }

    pub(super) fn same(names: &[&'static str]) -> Self {
        let names = names.to_vec();
        let (out, then) = (Out::Same, Vec::new());
        Self { names, out, then }
    }

    pub(super) fn of(name: &'static str, out: Out, then: &[Step]) -> Self {
        Self {
            names: vec![name],
            out,
            then: then.to_vec(),
        }
    }
}

impl World {
    /// What may become of a frame that comes in by the interface with this hardware address.
    pub(super) fn judge(&self, frame: &[u8], hardware: [u8; 6]) -> (Reading, Vec<Case>) {
        let reading = read(frame, hardware);
        let mut cases = Vec::new();
        if !reading.must_pass.is_empty() {
            let mut names = [&reading.must_pass[..], &reading.may_pass].concat();
            if let Some(packet) = &reading.packet {
                names.extend(packet.kinds());
                names.extend(self.stranger(packet));
            }
            return (reading, vec![Case::same(&names)]);
        }
        if !reading.may_pass.is_empty() {
            cases.push(Case::same(&reading.may_pass));
        }
        if let Some(packet) = &reading.packet {
            cases.extend(self.cases(frame, packet));
        }
        (reading, cases)
    }

    fn cases(&self, frame: &[u8], packet: &Packet) -> Vec<Case> {
        if packet.is_icmp() && packet.part == Part::Whole {
            return self.message(frame, packet);
        }
        if let Part::Later { id, .. } = packet.part {
            return self.later(packet, id);
        }
        let plain = packet.key().filter(|_| packet.options != Options::Strange);
        let Some(key) = plain else {
            let names = [packet.kinds(), self.stranger(packet)].concat();
            return vec![Case::same(&names)];
        };
        let Some((id, way)) = self.keys.get(&key).copied() else {
            return self.without_flow(packet, key.to.port());
        };
        let flow = &self.flows[&id];
        let mut cases = self.on_flow(packet, flow, (id, way));
        if self.may_be_gone(flow) {
            cases.extend(after(id, self.without_flow(packet, key.to.port())));
        }
        cases
    }

    /// "not-ours", if that is a right name for the packet.
    fn stranger(&self, packet: &Packet) -> Names {
        let (_, to) = packet.ports.unwrap_or_default();
        let is_public = self.public.contains(&packet.destination);
        let is_served = self.frontends.contains_key(&(packet.protocol, to)) && is_public;
        let is_back = self.translation.contains(&packet.destination) && self.range.contains(&to);
        if is_served || is_back {
            Names::new()
        } else {
            vec!["not-ours"]
        }
    }

    /// A packet that belongs to no flow.
    fn without_flow(&self, packet: &Packet, to: u16) -> Vec<Case> {
        let frontend = self.frontends.get(&(packet.protocol, to));
        if let Some(frontend) = frontend.filter(|_| self.public.contains(&packet.destination)) {
            return self.opening(packet, frontend);
        }
        if self.translation.contains(&packet.destination) && self.range.contains(&to) {
            return self.to_range(packet);
        }
        vec![Case::same(&[packet.kinds(), vec!["not-ours"]].concat())]
    }

    /// A packet for a frontend that belongs to no flow.
    pub(super) fn opening(&self, packet: &Packet, frontend: &Frontend) -> Vec<Case> {
        let mut ground = Ground::default();
        // What would be passed of an opening packet is not if the flow is there unseen.
        let is_hidden = packet.key().is_some_and(|key| self.hidden.contains(&key));
        let sure = if is_hidden { Is::Maybe } else { Is::Yes };
        if packet.options != Options::None {
            ground.pass("ip-options", sure);
        } else if packet.is_atomic {
            ground.pass("ip-options", Is::Maybe);
        }
        if packet.part != Part::Whole {
            let is_tcp = packet.protocol == protocol::TCP;
            let left = self.is_left(packet).max(Is::Maybe);
            ground.pass("fragment", if is_tcp { sure } else { left });
        }
        match opens(packet) {
            Is::Yes => {}
            doubt => ground.pass("no-flow", if doubt == Is::No { Is::Yes } else { Is::Maybe }),
        }
        self.sender(packet, &mut ground);
        match self.is_forged(packet) {
            Is::No => {}
            is_forged => ground.drop("reverse-path", is_forged.min(sure)),
        }
        let takers = self.takers(frontend, packet.family);
        let has_any = frontend
            .backends
            .iter()
            .any(|index| self.backends[*index].state == State::Active);
        match (takers.is_empty(), has_any) {
            (true, true) => ground.pass("other-family", Is::Yes),
            (true, false) => ground.drop("no-backend", Is::Yes),
            _ => {}
        }
        if frontend.denied.contains(&packet.source) {
            ground.drop("denied", Is::Yes);
        }
        if packet.is_right == Is::No && !packet.is_odd() && opens(packet) != Is::No {
            // What may not be one that opens a flow may be passed instead.
            ground.drop("bad-checksum", opens(packet).min(sure));
        }
        if self.flows.len() >= self.capacity {
            ground.drop("flows-full", Is::Maybe);
        }
        self.size_and_time(packet, None, &mut ground);
        let out = Out::Opened(match is_hidden {
            true => self.takers(frontend, packet.family),
            false => self.candidates(frontend, packet.family),
        });
        let mut then = vec![Step::Open];
        if matches!(packet.part, Part::First { .. }) {
            then.push(Step::Follow(self.begun + 1, Way::Forward));
        }
        ground.cases(vec![Case::of("forward", out, &then)])
    }

    /// A packet for the translation range that belongs to no flow.
    fn to_range(&self, packet: &Packet) -> Vec<Case> {
        let mut ground = Ground::default();
        for kind in packet.kinds() {
            ground.pass(kind, Is::Maybe);
        }
        self.sender(packet, &mut ground);
        let (from, _) = packet.ports.unwrap();
        let sender = SocketAddr::new(packet.source, from);
        let of = |state: fn(State) -> bool| {
            (self.backends.iter())
                .any(|b| (b.address, b.protocol) == (sender, packet.protocol) && state(b.state))
        };
        let (is_known, was_known) = (of(|s| s != State::Gone), of(|s| s == State::Gone));
        if !is_known {
            let is_stranger = if was_known { Is::Maybe } else { Is::Yes };
            ground.pass("unknown-sender", is_stranger);
        }
        if packet.ttl <= 1 {
            ground.drop("ttl-expired", Is::Maybe);
        }
        let mut cases = self.unseen(packet, sender);
        if !cases.is_empty() && packet.end - kit::frame::ETHERNET > MTU {
            ground.drop("too-big", Is::Maybe);
        }
        let is_reset = packet.tcp.is_some_and(|tcp| tcp.flags & flag::RST != 0);
        let is_answered = packet.protocol == protocol::TCP && !is_reset;
        let out = if is_answered { Out::Reset } else { Out::Same };
        cases.push(Case::of("backend-no-flow", out, &[]));
        if packet.is_odd() || packet.ttl <= 1 {
            cases.push(Case::same(&["backend-no-flow"]));
        }
        ground.cases(cases)
    }

    /// Whether the sender can be one.
    fn sender(&self, packet: &Packet, ground: &mut Ground) {
        if self.own().any(|own| *own == packet.source) {
            ground.drop("own-source", Is::Yes);
        }
        let martian = martian(packet.source);
        if martian != Is::No {
            ground.drop("martian-source", martian);
            ground.drop("own-source", martian);
        }
    }

    /// Whether a packet towards a client, or a backend, has time left and fits.
    pub(super) fn size_and_time(
        &self,
        packet: &Packet,
        client: Option<IpAddr>,
        ground: &mut Ground,
    ) {
        if packet.ttl <= 1 {
            ground.drop("ttl-expired", Is::Yes);
        }
        if packet.end - kit::frame::ETHERNET > MTU {
            // Nobody knows the way to a client that is on none of the networks.
            let has_way = client.is_none_or(|client| self.is_neighbour(client));
            // The way of a later fragment is remembered without its size.
            let is_later = matches!(packet.part, Part::Later { .. });
            let is_sure = packet.is_whole_only && has_way && !is_later;
            ground.drop("too-big", if is_sure { Is::Yes } else { Is::Maybe });
        }
    }
}

/// Whether a packet opens a flow where there is none.
pub(super) fn opens(packet: &Packet) -> Is {
    let Some(tcp) = packet.tcp else {
        return if packet.protocol == protocol::UDP {
            Is::Yes
        } else {
            Is::No
        };
    };
    let rest = tcp.flags & (flag::ACK | flag::RST | flag::FIN);
    match (tcp.flags & flag::SYN != 0, rest) {
        (true, 0) => Is::Yes,
        (true, rest) if rest & flag::ACK == 0 => Is::Maybe,
        _ => Is::No,
    }
}

/// Whether nobody can have sent from this address.
fn martian(address: IpAddr) -> Is {
    let (sure, maybe) = match address {
        IpAddr::V4(a) => (
            a.is_loopback() || a.is_multicast() || a.octets()[0] == 0 || a.is_broadcast(),
            a.is_link_local() || a.octets()[0] >= 240,
        ),
        IpAddr::V6(a) => (
            a.is_loopback() || a.is_multicast() || a.is_unspecified(),
            a.is_unicast_link_local()
                || a.segments()[..6] == [0; 6]
                || a.to_ipv4_mapped().is_some(),
        ),
    };
    match (sure, maybe) {
        (true, _) => Is::Yes,
        (false, true) => Is::Maybe,
        _ => Is::No,
    }
}

/// The cases, each after a flow has ended.
pub(super) fn after(id: u64, mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        case.then.insert(0, Step::End(id));
        for step in &mut case.then {
            // What ended is not what the rest of a packet follows.
            if let Step::Follow(flow, _) = step {
                debug_assert_ne!(*flow, id);
            }
        }
    }
    cases
}

/// Reasons against forwarding, and how sure they are.
#[derive(Default)]
pub(super) struct Ground {
    pass: Vec<(&'static str, Is)>,
    drop: Vec<(&'static str, Is)>,
}

impl Ground {
    pub(super) fn pass(&mut self, name: &'static str, is: Is) {
        self.pass.push((name, is));
    }

    pub(super) fn drop(&mut self, name: &'static str, is: Is) {
        self.drop.push((name, is));
    }

    /// The reasons as cases, and these ones if no reason is sure.
    pub(super) fn cases(self, otherwise: Vec<Case>) -> Vec<Case> {
        let mut cases = Vec::new();
        let is_sure = self
            .pass
            .iter()
            .chain(&self.drop)
            .any(|(_, is)| *is == Is::Yes);
        for reasons in [&self.pass, &self.drop] {
            let names: Names = reasons.iter().map(|(name, _)| *name).collect();
            if !names.is_empty() {
                cases.push(Case::same(&names));
            }
        }
        for (name, _) in &self.drop {
            match *name {
                "ttl-expired" => cases.push(Case::of(name, Out::Expired, &[])),
                "too-big" => cases.push(Case::of(name, Out::TooBig, &[])),
                _ => {}
            }
        }
        if !is_sure {
            cases.extend(otherwise);
        }
        cases
    }
}
