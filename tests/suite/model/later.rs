//! Fragments that carry no ports: they go where their first one went.

use std::net::SocketAddr;

use super::{
    flow::Way,
    judge::{Case, Ground, Out},
    reading::{Options, Packet},
    world::{State, World},
};

impl World {
    /// A fragment that carries no ports.
    pub(super) fn later(&self, packet: &Packet, id: u32) -> Vec<Case> {
        let key = (packet.source, packet.destination, id, packet.protocol);
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
