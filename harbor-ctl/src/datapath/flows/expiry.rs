//! By what flows are judged, and what a pass over their tables has counted. Pure.

use std::collections::{BTreeMap, HashMap as Map};

use harbor_common::{
    addr::Family,
    control::Control,
    flow::{Flow, Phase},
};

use super::pressure::Pressure;

/// What lives in the tables, by frontend slot and by backend slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    pub(crate) by_frontend: BTreeMap<u32, Load>,
    /// By slot and generation.
    pub(crate) by_backend: Map<(u32, u32), Load>,
    /// Of each family.
    pub(crate) flows: [u64; 2],
    pub(crate) ended: u64,
}

/// Flows that live, and what they have carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) flows: u64,
    /// Those of them that never make room for others.
    pub(crate) kept: u64,
    pub(crate) forward_packets: u64,
    pub(crate) forward_bytes: u64,
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
}

/// By what flows are judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// How long silence may last.
    pub(crate) control: Control,
    /// Seconds that established flows of a frontend slot may rest, where the port says so.
    pub(crate) idle_s: Map<u32, u32>,
    /// Generation of every backend slot's backend, 0 where it is gone.
    pub(crate) generations: Vec<u32>,
    /// Where room is short.
    pub(crate) pressure: Pressure,
}

impl Judgement {
    pub(super) fn is_orphan<A>(&self, flow: &Flow<A>) -> bool {
        let tenant = self.generations.get(flow.backend as usize);
        tenant != Some(&flow.backend_generation)
    }

    /// How long a flow may be silent.
    pub(super) fn silence_s<A: Family>(
        &self,
        flow: &Flow<A>,
        reply: &Flow<A>,
        protocol: u32,
    ) -> u32 {
        let idle_s = self.idle_s.get(&flow.frontend).copied().unwrap_or(0);
        let phase = Phase::of(flow.word, reply.word);
        let silence_s = phase.silence_s(protocol, idle_s, &self.control);
        let table = (A::INDEX as usize, protocol);
        self.pressure.shorten(silence_s, (flow, reply), table)
    }

    /// No flow is forgotten sooner.
    pub(super) fn shortest_s(&self) -> u32 {
        if self.pressure.is_any() {
            return 1;
        }
        let Control {
            opening_s,
            tcp_established_s,
            tcp_closed_s,
            tcp_reset_s,
            udp_single_s,
            udp_stream_s,
            ..
        } = self.control;
        let node = [
            opening_s,
            tcp_established_s,
            tcp_closed_s,
            tcp_reset_s,
            udp_single_s,
            udp_stream_s,
        ];
        let ports = self.idle_s.values().copied().filter(|idle| *idle != 0);
        node.into_iter().chain(ports).min().unwrap_or(0)
    }
}

impl Sweep {
    pub(super) fn count<A: Family>(&mut self, flow: &Flow<A>) {
        let loads = [
            self.by_frontend.entry(flow.frontend).or_default(),
            self.by_backend
                .entry((flow.backend, flow.backend_generation))
                .or_default(),
        ];
        let is_forward = flow.direction == Flow::<A>::FORWARD;
        for load in loads {
            if is_forward {
                load.flows += 1;
                load.kept += u64::from(flow.word & Flow::<A>::KEPT != 0);
                load.forward_packets += flow.packets;
                load.forward_bytes += flow.bytes;
            } else {
                load.reply_packets += flow.packets;
                load.reply_bytes += flow.bytes;
            }
        }
        self.flows[A::INDEX as usize] += u64::from(is_forward);
    }
}

#[cfg(test)]
mod tests {
    use harbor_common::addr::Ipv4;

    use super::*;

    #[test]
    fn a_port_that_forgets_sooner_is_looked_at_sooner() {
        let mut judgement = Judgement {
            control: Control {
                opening_s: 6,
                tcp_established_s: 7_440,
                tcp_closed_s: 30,
                tcp_reset_s: 10,
                udp_single_s: 30,
                udp_stream_s: 180,
                ..Control::default()
            },
            ..Judgement::default()
        };
        assert_eq!(judgement.shortest_s(), 6);
        judgement.idle_s.insert(3, 2);
        judgement.idle_s.insert(4, 0);
        assert_eq!(judgement.shortest_s(), 2);
        let flow = |frontend| Flow::<Ipv4> {
            frontend,
            word: Flow::<Ipv4>::LIVE,
            ..Flow::default()
        };
        let answer = flow(3);
        assert_eq!(judgement.silence_s(&flow(3), &answer, 6), 2);
        assert_eq!(judgement.silence_s(&flow(5), &answer, 6), 7_440);
        assert!(judgement.is_orphan(&flow(3)));
    }
}
