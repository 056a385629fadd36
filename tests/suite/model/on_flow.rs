//! Packets of flows in the contract: translated, unless the backend refuses, is silent or is gone.

use std::net::SocketAddr;

use kit::frame::{flag, protocol};

use super::{
    flow::{Flow, Is, Key, Way},
    judge::{Case, Ground, Out, Step, after, opens},
    reading::{Options, Packet, Part},
    world::{Frontend, State, World},
};

impl World {
    /// A packet of a flow.
    pub(super) fn on_flow(&self, packet: &Packet, flow: &Flow, (id, way): (u64, Way)) -> Vec<Case> {
        let mut ground = Ground::default();
        let backend = &self.backends[flow.backend];
        if backend.state == State::Gone {
            return self.gone(packet, flow, id, way);
        }
        if packet.end - packet.body
            < if packet.protocol == protocol::TCP {
                20
            } else {
                8
            }
        {
            let is_readable = packet.end - packet.body >= 18;
            ground.drop(
                "flow-fragment",
                if is_readable { Is::Maybe } else { Is::Yes },
            );
        }
        let client = (way == Way::Reply).then(|| flow.client.ip());
        self.size_and_time(packet, client, &mut ground);
        let mut then = vec![Step::Touch(id, way)];
        if matches!(packet.part, Part::First { .. }) {
            then.push(Step::Follow(id, way));
        }
        let (from, to) = flow.ends(way, backend.address);
        let left = self.is_left(packet);
        let mut cases = Vec::new();
        if left != Is::Yes {
            cases.push(Case::of("forward", Out::Between(from, to), &then));
        }
        // What follows IPv6's fragment header may hide where the identification stands.
        let is_hidden = packet.family == kit::V6
            && matches!(packet.part, Part::First { .. })
            && packet.options != Options::None;
        if left != Is::No || is_hidden {
            cases.push(Case::of("fragment", Out::Same, &[Step::Touch(id, way)]));
        }
        self.refusal(packet, flow, (id, way), &mut cases);
        // A packet that begins a flow anew is judged as one that opens a flow, before its size and time are.
        let anew = self.again(packet, flow, (id, way), &mut cases);
        let mut cases = ground.cases(cases);
        cases.extend(anew);
        cases
    }

    /// A backend's reset before the flow is live.
    fn refusal(&self, packet: &Packet, flow: &Flow, at: (u64, Way), cases: &mut Vec<Case>) {
        let (id, way) = at;
        let is_reset = packet.tcp.is_some_and(|tcp| tcp.flags & flag::RST != 0);
        if way == Way::Forward || !is_reset || flow.live == Is::Yes {
            return;
        }
        let frontend = &self.frontends[&(flow.protocol, flow.public.port())];
        let mut others = self.takers(frontend, packet.family);
        others.retain(|index| *index != flow.backend);
        if others.is_empty() {
            return;
        }
        let then = [Step::Touch(id, way), Step::Refuse(id)];
        let refused = Case::of("backend-refused", Out::Same, &then);
        let is_sure = packet.tcp.is_some_and(|tcp| {
            let is_plain = tcp.flags & (flag::SYN | flag::FIN) == 0 && tcp.flags & flag::ACK != 0;
            is_plain && tcp.acknowledgement == flow.next[0] && tcp.length == 0 && flow.is_orderly
        });
        let is_first = flow.offered.is_none() && flow.live == Is::No;
        if is_sure && is_first && packet.part == Part::Whole {
            cases.clear();
        }
        cases.push(refused);
    }

    /// What a client's packet may become that begins a flow anew, or takes it to another backend; the
    /// other cases are not if it must.
    fn again(
        &self,
        packet: &Packet,
        flow: &Flow,
        at: (u64, Way),
        cases: &mut Vec<Case>,
    ) -> Vec<Case> {
        let (id, way) = at;
        if way == Way::Reply || opens(packet) == Is::No {
            return Vec::new();
        }
        let is_tcp = packet.protocol == protocol::TCP;
        let is_late = is_tcp && flow.opened.elapsed().as_millis() > 400;
        let is_unanswered = flow.live != Is::Yes;
        let is_refused = flow.is_refused != Is::No && (is_unanswered || !is_tcp);
        let may_be_over = is_tcp && flow.may_be_over();
        if !(may_be_over || is_refused || is_late && is_unanswered) {
            return Vec::new();
        }
        let frontend = &self.frontends[&(flow.protocol, flow.public.port())];
        let is_plain = opens(packet) == Is::Yes && !packet.is_odd();
        let is_due = is_plain && self.is_due(packet, flow, frontend);
        if is_due || is_plain && is_tcp && flow.is_closed() {
            cases.clear();
        }
        let mut anew = self.opening(packet, frontend);
        let has_left = if is_due { Is::Yes } else { Is::Maybe };
        for case in &mut anew {
            if let Out::Opened(candidates) = &mut case.out {
                *candidates = self.takers(frontend, packet.family);
                candidates.retain(|index| !is_due || *index != flow.backend);
                case.then.push(Step::Elsewhere);
                if is_late && is_unanswered && flow.is_refused != Is::Yes {
                    case.then.push(Step::Move(has_left));
                }
            }
        }
        after(id, anew)
    }

    /// Whether a repeated SYN, or the next datagram, must go to another backend: the first has refused
    /// the flow, or has not answered for long enough, and another one is well.
    fn is_due(&self, packet: &Packet, flow: &Flow, frontend: &Frontend) -> bool {
        let is_repeated = packet
            .tcp
            .is_some_and(|tcp| tcp.sequence.wrapping_add(1) == flow.next[0] && tcp.length == 1);
        let is_silent = flow.offered.is_none() && flow.live == Is::No && !flow.is_heard;
        let is_late = flow.opened.elapsed().as_millis() > 700;
        let is_left = is_repeated && is_silent && is_late && flow.has_moved == Is::No;
        let is_udp = packet.protocol == protocol::UDP;
        let is_refused = flow.is_refused == Is::Yes && (is_udp || flow.live == Is::No);
        let mut takers = self.takers(frontend, packet.family).into_iter();
        let has_other = takers.any(|index| index != flow.backend);
        (is_left || is_refused) && has_other && flow.reset() == Is::No
    }

    /// A packet of a flow whose backend was removed.
    fn gone(&self, packet: &Packet, flow: &Flow, id: u64, way: Way) -> Vec<Case> {
        let is_reset = packet.tcp.is_some_and(|tcp| tcp.flags & flag::RST != 0);
        let end = [Step::End(id)];
        let dropped = Case::of("backend-gone", Out::Same, &end);
        let anew = || {
            let frontend = &self.frontends[&(flow.protocol, flow.public.port())];
            after(id, self.opening(packet, frontend))
        };
        let mut cases = match (packet.protocol, way) {
            (protocol::TCP, Way::Forward) if opens(packet) == Is::Yes => anew(),
            (protocol::TCP, _) if !is_reset && packet.part == Part::Whole && packet.ttl > 1 => {
                vec![Case::of("backend-gone", Out::Reset, &end)]
            }
            (protocol::TCP, _) => vec![dropped, Case::of("backend-gone", Out::Reset, &end)],
            (_, Way::Reply) => vec![dropped, Case::same(&["backend-gone"])],
            (_, Way::Forward) => anew(),
        };
        if packet.ttl <= 1 {
            cases.push(Case::same(&["ttl-expired"]));
            cases.push(Case::of("ttl-expired", Out::Expired, &[]));
        }
        let may_be_syn = way == Way::Forward && opens(packet) == Is::Maybe;
        if packet.protocol == protocol::TCP && may_be_syn {
            // A connection of its own: the flow that it would have belonged to is over.
            cases.extend(anew());
        }
        cases
    }

    /// A backend's answer to a flow that may have begun unseen.
    pub(super) fn unseen(&self, packet: &Packet, sender: SocketAddr) -> Vec<Case> {
        let is_served = |key: &&Key| {
            let frontend = self.frontends.get(&(key.protocol, key.to.port()));
            let mut backends = frontend.iter().flat_map(|frontend| &frontend.backends);
            key.protocol == packet.protocol
                && key.to.is_ipv4() == packet.source.is_ipv4()
                && backends.any(|index| self.backends[*index].address == sender)
        };
        let hidden = self.hidden.iter().filter(is_served);
        let former = packet.key().and_then(|key| self.former.get(&key));
        (hidden.map(|key| (key.to, key.from)))
            .chain(former.copied())
            .map(|(from, to)| Case::of("forward", Out::Between(from, to), &[]))
            .collect()
    }

    /// Whether this backend may have been given a flow that began unseen.
    pub(super) fn may_answer_unseen(&self, protocol: u8, sender: SocketAddr) -> bool {
        self.hidden_at.contains_key(&(protocol, sender))
    }

    /// Whether a flow that began unseen may have taken this one's source port.
    pub(super) fn may_have_lost_its_port(&self, flow: &Flow) -> bool {
        let backend = self.backends[flow.backend].address;
        let last = self.hidden_at.get(&(flow.protocol, backend));
        last.is_some_and(|at| *at > flow.opened)
    }
}
