//! ICMP messages in the contract: an error about a packet that the node has translated goes to whoever
//! sent that packet; everything else is the host's.

use std::net::SocketAddr;

use kit::{
    Family, NODE_MAC,
    frame::{ETHERNET, protocol, sum},
};

use super::{
    flow::{Flow, Is, Key, Way},
    judge::{Case, Out, Step},
    reading::{Names, Options, Packet, Part, array, read, word},
    world::{State, World},
};

/// All clients are on one path for a backend: it is told of no narrower one.
const LEAST_MTU: u16 = 1_280;

/// The packet that an error quotes.
struct Quoted {
    key: Key,
    /// It is plain and long enough for every forwarder.
    is_plain: bool,
    /// The sequence number of a segment.
    sequence: Option<u32>,
    /// The checksum of a datagram.
    check: Option<u16>,
}

impl Quoted {
    /// What the packet that would answer it stands under.
    fn answer(&self) -> Key {
        let Key { protocol, from, to } = self.key;
        Key {
            protocol,
            from: to,
            to: from,
        }
    }
}

impl World {
    /// An ICMP message.
    pub(super) fn message(&self, frame: &[u8], packet: &Packet) -> Vec<Case> {
        let mut names: Names = packet.kinds();
        if packet.options == Options::Strange {
            return vec![Case::same(&names)];
        }
        let body = &frame[packet.body..packet.end];
        if body.len() < 8 {
            return vec![Case::same(&names)];
        }
        let is_error = is_error(packet.family, body[0]);
        let quoted = quoted(packet.family, body).filter(|_| is_error != Is::No);
        let entry = quoted.and_then(|quoted| {
            let (id, way) = self.answering(&quoted)?;
            Some((quoted, id, way))
        });
        let Some((quoted, id, way)) = entry else {
            if !self.own().any(|own| *own == packet.destination) {
                names.push("not-ours");
            }
            return vec![Case::same(&names)];
        };
        let flow = &self.flows[&id];
        let credible = self.is_credible(frame, packet, &quoted, (flow, way));
        if credible == Is::No {
            names.extend(["not-ours", "malformed"]);
            return vec![Case::same(&names)];
        }
        let mut cases = self.translated(flow, way);
        let is_sure = is_error == Is::Yes
            && quoted.is_plain
            && quoted.key.from.ip() == packet.destination
            && packet.options == Options::None
            && packet.ttl > 1
            && packet.part == Part::Whole
            && !self.own().any(|own| *own == packet.source)
            && is_intact(packet, body)
            && is_on_its_way(flow, way, quoted.sequence)
            && credible == Is::Yes
            && !self.may_be_gone(flow)
            && self.backends[flow.backend].state != State::Gone;
        if !is_sure {
            names.extend(["not-ours", "malformed"]);
            cases.push(Case::same(&names));
            cases.push(Case::same(&[
                "own-source",
                "martian-source",
                "backend-gone",
            ]));
        }
        if packet.ttl <= 1 {
            cases.push(Case::same(&["ttl-expired"]));
        }
        let is_open = flow.protocol == protocol::UDP || flow.live != Is::Yes;
        if body[0] == unreachable(packet.family) && is_open {
            self.unreachable(packet, flow, (id, way), &mut cases);
        }
        cases
    }

    /// Whether an error can be true: it comes from where the packet went that it quotes, from one who
    /// can know, and quotes what was sent.
    fn is_credible(
        &self,
        frame: &[u8],
        packet: &Packet,
        quoted: &Quoted,
        (flow, way): (&Flow, Way),
    ) -> Is {
        let is_from_clients = frame[..6] == NODE_MAC;
        let body = &frame[packet.body..packet.end];
        let closed: &[[u8; 2]] = match packet.family {
            Family::V4 => &[[3, 2], [3, 3]],
            Family::V6 => &[[1, 4]],
        };
        let is_closed = closed.contains(&[body[0], body[1]]);
        let is_of_clients = way == Way::Forward;
        if is_from_clients != is_of_clients || is_closed && packet.source != quoted.key.to.ip() {
            return Is::No;
        }
        let Some(check) = quoted.check else {
            return Is::Yes;
        };
        let sent = &flow.sent[way.other().index()];
        let place = sent.iter().rev().position(|found| *found == check);
        match (place, flow.is_sent_sure) {
            (Some(..4), true) => Is::Yes,
            (None, true) => Is::No,
            _ => Is::Maybe,
        }
    }

    /// The flow of a quoted packet: the packet that would answer it belongs to the same.
    fn answering(&self, quoted: &Quoted) -> Option<(u64, Way)> {
        self.keys.get(&quoted.answer()).copied()
    }

    /// The flow that an ICMP message speaks of.
    pub(super) fn flow_in(&self, frame: &[u8], packet: &Packet) -> Option<&Flow> {
        let body = frame.get(packet.body..packet.end)?;
        let quoted = packet.is_icmp().then(|| quoted(packet.family, body))??;
        self.flows.get(&self.answering(&quoted)?.0)
    }

    /// What the answer to the packet that an ICMP message quotes stands under.
    pub(super) fn quoted_in(&self, frame: &[u8], packet: &Packet) -> Option<Key> {
        let body = frame.get(packet.body..packet.end)?;
        let quoted = packet.is_icmp().then(|| quoted(packet.family, body))??;
        Some(quoted.answer())
    }

    /// Whether a frame is an ICMP message about a flow of which nobody can tell where it goes.
    pub(super) fn is_vague(&self, frame: &[u8], hardware: [u8; 6]) -> bool {
        let packet = read(frame, hardware).packet.filter(Packet::is_icmp);
        let body = packet.and_then(|packet| Some((packet.family, frame.get(packet.body..)?)));
        let Some(quoted) = body.and_then(|(family, body)| quoted(family, body)) else {
            return false;
        };
        match self.answering(&quoted) {
            Some((id, _)) => self.flows[&id].is_doubtful,
            None => self.may_be_unseen(&quoted.answer()),
        }
    }

    /// Whether packets under this key may be those of a flow that began, or went on, unseen.
    fn may_be_unseen(&self, key: &Key) -> bool {
        let is_back =
            self.translation.contains(&key.to.ip()) && self.range.contains(&key.to.port());
        self.hidden.contains(key)
            || self.former.contains_key(key)
            || is_back && self.may_answer_unseen(key.protocol, key.from)
    }

    fn translated(&self, flow: &Flow, way: Way) -> Vec<Case> {
        let backend = self.backends[flow.backend].address;
        let (outer, inner) = match way {
            // About what was sent to the backend: the client sent it.
            Way::Reply => (
                (flow.public.ip(), flow.client.ip()),
                (flow.client, flow.public),
            ),
            Way::Forward => ((flow.source.ip(), backend.ip()), (backend, flow.source)),
        };
        let least = match way {
            Way::Forward => LEAST_MTU,
            Way::Reply => 0,
        };
        let out = Out::Quoting {
            outer,
            inner,
            least,
        };
        vec![Case {
            names: vec!["forward"],
            out,
            then: Vec::new(),
        }]
    }

    /// A backend that cannot be reached loses a datagram's flow, or one that only opens, to another.
    fn unreachable(&self, packet: &Packet, flow: &Flow, at: (u64, Way), cases: &mut Vec<Case>) {
        let frontend = &self.frontends[&(flow.protocol, flow.public.port())];
        let mut others = self.takers(frontend, packet.family);
        others.retain(|index| *index != flow.backend);
        if at.1 == Way::Reply && !others.is_empty() {
            cases.push(Case {
                names: vec!["backend-refused"],
                out: Out::Same,
                then: vec![Step::Refuse(at.0)],
            });
        }
    }
}

/// Whether a message's type is an error about a packet; some are so rare that a forwarder may leave
/// them to the host.
fn is_error(family: Family, kind: u8) -> Is {
    match (family, kind) {
        (Family::V4, 3 | 11) | (Family::V6, 1..=3) => Is::Yes,
        (Family::V4, 4 | 12) | (Family::V6, 4) => Is::Maybe,
        _ => Is::No,
    }
}

fn unreachable(family: Family) -> u8 {
    match family {
        Family::V4 => 3,
        Family::V6 => 1,
    }
}

/// Reads the quoted packet, if it quotes as much as a header and eight octets.
fn quoted(family: Family, body: &[u8]) -> Option<Quoted> {
    let quote = body.get(8..)?;
    let (header, protocol, is_plain) = match family {
        Family::V4 => {
            let head = quote.get(..20)?;
            let header = usize::from(head[0] & 15) * 4;
            let is_first = word(head, 6) & 0x1fff == 0;
            if head[0] >> 4 != 4 || header < 20 || !is_first {
                return None;
            }
            (header, head[9], header == 20 && word(head, 6) & 0x3fff == 0)
        }
        Family::V6 => {
            let head = quote.get(..40)?;
            if head[0] >> 4 != 6 {
                return None;
            }
            (40, head[6], true)
        }
    };
    if ![protocol::TCP, protocol::UDP].contains(&protocol) {
        return None;
    }
    let ports = quote.get(header..header + 8)?;
    let (source, destination) = match family {
        Family::V4 => (array::<4>(quote, 12).into(), array::<4>(quote, 16).into()),
        Family::V6 => (array::<16>(quote, 8).into(), array::<16>(quote, 24).into()),
    };
    let key = Key {
        protocol,
        from: SocketAddr::new(source, word(ports, 0)),
        to: SocketAddr::new(destination, word(ports, 2)),
    };
    let is_tcp = protocol == protocol::TCP;
    Some(Quoted {
        key,
        is_plain,
        sequence: is_tcp.then(|| u32::from_be_bytes(array(ports, 4))),
        check: (!is_tcp).then(|| word(ports, 6)),
    })
}

/// Whether a quoted segment is one that has been sent and not been acknowledged: others may be
/// forged, and a forwarder may leave them (RFC 5927).
fn is_on_its_way(flow: &Flow, way: Way, sequence: Option<u32>) -> bool {
    let first = flow.acknowledged[way.index()];
    let next = flow.next[way.other().index()];
    let ahead = next.wrapping_sub(first);
    // A side that acknowledges what was not sent has nothing on its way.
    let is_sound = flow.is_orderly && !flow.may_be_over() && ahead < 1 << 31;
    sequence.is_none_or(|sequence| is_sound && sequence.wrapping_sub(first) <= ahead)
}

/// Whether the message's checksum is right.
fn is_intact(packet: &Packet, body: &[u8]) -> bool {
    match packet.family {
        Family::V4 => sum(&[body]) == 0,
        Family::V6 => {
            let length = u32::try_from(packet.end - packet.body)
                .unwrap()
                .to_be_bytes();
            let octets = |address| match address {
                std::net::IpAddr::V6(address) => address.octets(),
                std::net::IpAddr::V4(_) => unreachable!("a packet has one family"),
            };
            let ends = [octets(packet.source), octets(packet.destination)].concat();
            sum(&[&ends, &length, &[0, 0, 0, protocol::ICMPV6], body]) == 0
        }
    }
}

/// Where the quoted packet begins in a frame.
pub(super) fn quote_at(packet: &Packet) -> usize {
    debug_assert!(packet.body >= ETHERNET);
    packet.body + 8
}
