//! Fragments that carry no ports: they go where their first one went.

use std::{net::SocketAddr, time::Instant};

use kit::frame::protocol;

use super::{
    flow::{Is, Way},
    judge::{Case, Ground, Out},
    reading::{Options, Packet, Part},
    world::{PartKey, State, World},
};

impl World {
    /// A fragment that carries no ports.
    pub(super) fn later(&self, packet: &Packet, id: u32) -> Vec<Case> {
        let key = key(packet, id);
        let names = [packet.kinds(), vec!["fragment"]].concat();
        let Some(trail) = self.parts.get(&key) else {
            return self.loosely(packet, self.loose.get(&key), &names);
        };
        let (from, to) = trail.ends;
        let mut ground = Ground::default();
        let client = (trail.way == Way::Reply).then(|| to.ip());
        self.size_and_time(packet, client, &mut ground);
        let mut cases = ground.cases(vec![Case::of("forward", Out::Between(from, to), &[])]);
        let is_sure = self.flows.get(&trail.flow).is_some_and(|flow| {
            let has_backend = self.backends[flow.backend].state != State::Gone;
            has_backend
                && !self.may_be_gone(flow)
                && packet.options == Options::None
                && self.is_fresh(trail)
        });
        if !is_sure {
            cases.push(Case::same(&names));
            cases.push(Case::same(&["backend-gone"]));
        }
        cases
    }

    /// A fragment was passed: of a datagram the stack has all of them, and may have a flow for it.
    pub(super) fn leave(&mut self, packet: &Packet) {
        match packet.part {
            _ if packet.protocol != protocol::UDP => {}
            Part::Later { id, .. } => {
                self.followed += 1;
                let mark = (self.followed, Instant::now());
                self.left.entry(key(packet, id)).or_insert(mark);
            }
            Part::First { .. } => {
                self.hide(packet);
                self.note_unsent(packet);
            }
            Part::Whole => {}
        }
    }

    /// A datagram counts in its flow, though it was not sent on.
    fn note_unsent(&mut self, packet: &Packet) {
        let entry = packet.key().and_then(|key| self.keys.get(&key).copied());
        if let Some(flow) = entry.and_then(|(id, _)| self.flows.get_mut(&id)) {
            flow.is_sent_sure = false;
        }
    }

    /// Whether a first fragment comes after a later one, which has left the datagram to the stack.
    pub(super) fn is_left(&self, packet: &Packet) -> Is {
        let Part::First { id } = packet.part else {
            return Is::No;
        };
        let is_own = self.own().any(|own| *own == packet.destination);
        match self.left.get(&key(packet, id)) {
            None => Is::No,
            Some((order, seen)) if is_own && self.is_known(*order, *seen) => Is::Yes,
            Some(_) => Is::Maybe,
        }
    }

    /// A first fragment has gone its way, which the others follow.
    pub(super) fn lead(&mut self, packet: &Packet) {
        if let Part::First { id } = packet.part {
            self.left.remove(&key(packet, id));
        }
    }

    /// A later fragment whose first one may have belonged to a flow that began unseen.
    fn loosely(
        &self,
        packet: &Packet,
        ends: Option<&(SocketAddr, SocketAddr)>,
        names: &[&'static str],
    ) -> Vec<Case> {
        let mut cases = vec![Case::same(names)];
        if let Some((from, to)) = ends {
            let mut ground = Ground::default();
            self.size_and_time(packet, None, &mut ground);
            let forward = Case::of("forward", Out::Between(*from, *to), &[]);
            cases.extend(ground.cases(vec![forward]));
            cases.push(Case::same(&["backend-gone"]));
        }
        cases
    }
}

fn key(packet: &Packet, id: u32) -> PartKey {
    (packet.source, packet.destination, id, packet.protocol)
}
