//! Reads flows, and finds those that are over.
//!
//! Only the kernel side deletes. The sweep hands it a list of flows that were idle for too long;
//! it deletes those to which nothing has happened since they were read.

use std::{
    collections::HashMap as Map,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
};

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use harbor_common::{
    addr::{Family, Ipv4, Ipv6},
    flow::{Expired, Flow, FlowKey, Phase},
    maps::{FLOWS, FLOWS6},
    protocol::Protocol as Number,
};

use super::{
    Datapath, DatapathError, Judgement, Pins, Sweep, Tried as _, batch,
    clock::{coarse_ns, seconds_ns},
    program::ENTRIES_PER_FLOW,
    tables::{data, open},
};
use crate::model::FlowRecord;

/// The flow tables of both families, opened.
pub(crate) struct FlowTables {
    v4: FlowTable<Ipv4>,
    v6: FlowTable<Ipv6>,
}

/// The pinned flow table of one family, opened.
struct FlowTable<A: Pod> {
    name: &'static str,
    data: MapData,
    map: HashMap<MapData, FlowKey<A>, Flow<A>>,
}

/// What a flow makes of a datagram's ends.
pub(super) struct Translated {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// From the backend to the client.
    pub(super) is_reply: bool,
}

/// Flows that fit one run of the sweep program.
const PER_RUN: usize = 50;
/// What the kernel takes for the packet's Ethernet header.
const ETHERNET: usize = 14;

/// An address of one family, as tables and people have it.
pub(super) trait Octets: Family + Into<Self::Standard> {
    type Standard: Into<IpAddr>;

    /// As [`Expired`] holds it: IPv4 in the last four octets.
    fn widened(self) -> Ipv6;
}

impl Octets for Ipv4 {
    type Standard = std::net::Ipv4Addr;

    fn widened(self) -> Ipv6 {
        let mut octets = [0; 16];
        octets[12..].copy_from_slice(&self.octets);
        Ipv6 { octets }
    }
}

impl Octets for Ipv6 {
    type Standard = std::net::Ipv6Addr;

    fn widened(self) -> Self {
        self
    }
}

impl FlowTables {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            v4: FlowTable::open(pins, FLOWS)?,
            v6: FlowTable::open(pins, FLOWS6)?,
        })
    }

    /// How many flows of one family there is room for: pinned tables keep their size.
    pub(crate) fn capacity(&self) -> Result<u32, DatapathError> {
        let info = self
            .v4
            .data
            .info()
            .tried(|| format!("cannot read {FLOWS}"))?;
        Ok(info.max_entries() / ENTRIES_PER_FLOW)
    }

    /// Every flow, both directions joined.
    pub(crate) fn records(&self) -> Result<Vec<FlowRecord>, DatapathError> {
        let mut records = Vec::new();
        self.v4.for_each_flow(|record, _| records.push(record))?;
        self.v6.for_each_flow(|record, _| records.push(record))?;
        Ok(records)
    }

    /// What becomes of the ends of a datagram that belongs to a flow.
    pub(super) fn translate(&self, from: SocketAddr, to: SocketAddr) -> Option<Translated> {
        match from {
            SocketAddr::V4(_) => self.v4.translate(from, to),
            SocketAddr::V6(_) => self.v6.translate(from, to),
        }
    }

    /// Counts the flows, and ends those that have been silent for too long or whose backend is
    /// gone.
    pub(crate) fn sweep(
        &self,
        datapath: &mut Datapath,
        judgement: &Judgement,
    ) -> Result<Sweep, DatapathError> {
        let mut sweep = Sweep::default();
        let mut over = Vec::new();
        self.v4.sweep(judgement, &mut sweep, &mut over)?;
        self.v6.sweep(judgement, &mut sweep, &mut over)?;
        sweep.ended = end(datapath, &over)?;
        Ok(sweep)
    }

    /// Ends every flow that is wanted to end, whatever happens to it meanwhile; answers with their
    /// number. Besides the record a flow's frontend slot decides.
    pub(crate) fn end_now(
        &self,
        datapath: &mut Datapath,
        is_wanted: impl Fn(&FlowRecord, u32) -> bool,
    ) -> Result<u64, DatapathError> {
        let mut over = Vec::new();
        let mut note = |record: FlowRecord, (expired, frontend): (Expired, u32)| {
            if is_wanted(&record, frontend) {
                over.push(Expired {
                    seen_ns: Expired::NOW,
                    ..expired
                });
            }
        };
        self.v4.for_each_flow(&mut note)?;
        self.v6.for_each_flow(&mut note)?;
        end(datapath, &over)
    }
}

impl<A: Octets + Pod + std::hash::Hash> FlowTable<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            data: data(pins, name)?,
            map: open(pins, name)?,
        })
    }

    fn translate(&self, from: SocketAddr, to: SocketAddr) -> Option<Translated> {
        let key = FlowKey {
            source: A::of(&from.ip().into()),
            destination: A::of(&to.ip().into()),
            source_port: from.port(),
            destination_port: to.port(),
            protocol: Number::Udp.number(),
        };
        let flow = self.map.get(&key, 0).ok()?;
        let mut to = at(flow.destination, flow.destination_port);
        if let SocketAddr::V6(v6) = &mut to
            && v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(flow.ifindex);
        }
        (flow.word & Flow::<A>::DEAD == 0).then(|| Translated {
            from: at(flow.source, flow.source_port),
            to,
            is_reply: flow.direction == Flow::<A>::REPLY,
        })
    }

    fn for_each(&self, visit: impl FnMut(&FlowKey<A>, &Flow<A>)) -> Result<(), DatapathError> {
        batch::for_each(self.data.fd().as_fd(), visit)
            .tried(|| format!("cannot read {}", self.name))
    }

    /// Visits every flow, with how to end it and its frontend slot.
    fn for_each_flow(
        &self,
        mut visit: impl FnMut(FlowRecord, (Expired, u32)),
    ) -> Result<(), DatapathError> {
        let mut forward = Vec::new();
        let mut replies = Map::new();
        self.for_each(|key, flow| {
            if flow.direction == Flow::<A>::FORWARD {
                forward.push((*key, *flow));
            } else {
                replies.insert(*key, *flow);
            }
        })?;
        let now = coarse_ns();
        for (key, flow) in forward {
            let reply = replies.get(&flow.opposite_key(key.protocol)).copied();
            let reply = reply.unwrap_or_default();
            if let Some(record) = record(&key, &flow, &reply, now) {
                let seen_ns = flow.seen_ns.max(reply.seen_ns);
                visit(record, (expired(&key, flow.word, seen_ns), flow.frontend));
            }
        }
        Ok(())
    }

    fn sweep(
        &self,
        judgement: &Judgement,
        sweep: &mut Sweep,
        over: &mut Vec<Expired>,
    ) -> Result<(), DatapathError> {
        let shortest = seconds_ns(judgement.shortest_s());
        let now = coarse_ns();
        let mut candidates = Vec::new();
        self.for_each(|key, flow| {
            sweep.count(flow);
            let is_orphan = judgement.is_orphan(flow);
            if is_orphan || now.saturating_sub(flow.seen_ns) > shortest {
                candidates.push((*key, *flow, is_orphan));
            }
        })?;
        let judge = |(key, flow, is_orphan): &(FlowKey<A>, Flow<A>, bool)| {
            let (expired, is_over) = self.judge(key, flow, judgement, now)?;
            (is_over || *is_orphan).then_some(expired)
        };
        over.extend(candidates.iter().filter_map(judge));
        Ok(())
    }

    /// How to end a flow, and whether its time has come. `None` for a reply entry that has its
    /// forward entry: that one is judged.
    fn judge(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        judgement: &Judgement,
        now: u64,
    ) -> Option<(Expired, bool)> {
        let other = self.map.get(&flow.opposite_key(key.protocol), 0).ok();
        let cookie = |flow: &Flow<A>| Flow::<A>::cookie(flow.word);
        let other = other.filter(|other| cookie(other) == cookie(flow));
        if flow.direction == Flow::<A>::REPLY {
            // Without its forward entry it is a remnant.
            let remnant = (expired(key, flow.word, flow.seen_ns), true);
            return other.is_none().then_some(remnant);
        }
        let reply = other.unwrap_or_default();
        let seen_ns = flow.seen_ns.max(reply.seen_ns);
        let silence_s = judgement.silence_s(flow, &reply, key.protocol);
        let is_over = now.saturating_sub(seen_ns) > seconds_ns(silence_s);
        Some((expired(key, flow.word, seen_ns), is_over))
    }
}

fn end(datapath: &mut Datapath, over: &[Expired]) -> Result<u64, DatapathError> {
    let mut ended = 0;
    for run in over.chunks(PER_RUN) {
        ended += u64::from(datapath.run_sweep(&list(run))?);
    }
    Ok(ended)
}

fn expired<A: Octets>(key: &FlowKey<A>, word: u64, seen_ns: u64) -> Expired {
    Expired {
        word,
        seen_ns,
        key: FlowKey {
            source: key.source.widened(),
            destination: key.destination.widened(),
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        },
        family: A::INDEX,
        _pad: 0,
    }
}

/// The "packet" that the sweep program reads.
fn list(expired: &[Expired]) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET];
    for one in expired {
        bytes.extend(one.word.to_ne_bytes());
        bytes.extend(one.seen_ns.to_ne_bytes());
        bytes.extend(one.key.source.octets);
        bytes.extend(one.key.destination.octets);
        bytes.extend(one.key.source_port.to_ne_bytes());
        bytes.extend(one.key.destination_port.to_ne_bytes());
        bytes.extend(one.key.protocol.to_ne_bytes());
        bytes.extend(one.family.to_ne_bytes());
        bytes.extend(one._pad.to_ne_bytes());
    }
    bytes
}

fn at<A: Octets>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().into(), port)
}

fn record<A: Octets>(
    key: &FlowKey<A>,
    flow: &Flow<A>,
    reply: &Flow<A>,
    now: u64,
) -> Option<FlowRecord> {
    let idle_ns = now.saturating_sub(flow.seen_ns.max(reply.seen_ns));
    Some(FlowRecord {
        protocol: Number::from_number(key.protocol)?.into(),
        client: at(key.source, key.source_port),
        frontend: at(key.destination, key.destination_port),
        source: at(flow.source, flow.source_port),
        backend: at(flow.destination, flow.destination_port),
        state: Phase::of(flow.word, reply.word).name().into(),
        idle_seconds: idle_ns / 1_000_000_000,
        forward_packets: flow.packets,
        forward_bytes: flow.bytes,
        reply_packets: reply.packets,
        reply_bytes: reply.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_as_long_as_the_contract_says_and_ipv4_stands_last() {
        let key = FlowKey {
            source: Ipv4::new([192, 0, 2, 1]),
            destination: Ipv4::new([198, 51, 100, 1]),
            source_port: 40_000,
            destination_port: 35_000,
            protocol: 6,
        };
        let one = expired(&key, 0x1_0001, 7);
        let bytes = list(&[one, one]);
        assert_eq!(bytes.len(), ETHERNET + 2 * size_of::<Expired>());
        assert_eq!(
            &bytes[14 + 16..14 + 32],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]
        );
        assert_eq!(bytes[14 + 56], 0);
        assert_eq!(expired(&FlowKey::<Ipv6>::default(), 0, 0).family, 1);
    }
}
