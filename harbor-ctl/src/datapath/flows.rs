//! Reads flows, and finds those that have expired.
//!
//! Only the kernel side deletes. The sweep hands it a list of flows that were idle for too long;
//! it deletes those to which nothing has happened since they were read.

use std::{
    collections::{BTreeMap, HashMap as Map},
    net::SocketAddrV4,
    os::fd::AsFd as _,
    time::Duration,
};

use aya::maps::{HashMap, MapData};
use harbor_common::{
    flow::{Expired, Flow, FlowKey, Phase},
    maps::FLOWS,
    protocol::Protocol as Number,
};

use super::{
    Datapath, DatapathError, Pins, Tried as _, batch,
    tables::{data, open},
};
use crate::model::{FlowRecord, Timeouts};

/// The result of one pass over the table.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Flows by frontend slot.
    pub(crate) by_frontend: BTreeMap<u32, u64>,
    pub(crate) flows: u64,
    pub(crate) ended: u64,
}

/// Generation of every backend slot whose backend is not gone.
pub(crate) type Generations = Map<u32, u32>;

/// The pinned `flows` map, opened.
pub(crate) struct FlowTable {
    data: MapData,
    map: HashMap<MapData, FlowKey, Flow>,
}

/// Flows that fit one run of the sweep program.
const PER_RUN: usize = 100;
/// What the kernel takes for the packet's Ethernet header.
const ETHERNET: usize = 14;

impl FlowTable {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let what = || format!("cannot open map {FLOWS}");
        Ok(Self {
            data: data(pins, FLOWS)?,
            map: open(pins, FLOWS)?.try_into().tried(what)?,
        })
    }

    fn for_each(&self, visit: impl FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        batch::for_each(self.data.fd().as_fd(), visit).tried(|| format!("cannot read {FLOWS}"))
    }

    fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.map.get(key, 0).ok()
    }

    /// Every flow, both directions joined.
    pub(crate) fn records(&self) -> Result<Vec<FlowRecord>, DatapathError> {
        let mut forward = Vec::new();
        let mut replies = Map::new();
        self.for_each(|key, flow| {
            if flow.direction == Flow::FORWARD {
                forward.push((*key, *flow));
            } else {
                replies.insert(*key, *flow);
            }
        })?;
        let now = now_ns();
        let record = |(key, flow): &(FlowKey, Flow)| {
            let reply = replies
                .get(&flow.opposite_key(key.protocol))
                .copied()
                .unwrap_or_default();
            record(key, flow, &reply, now)
        };
        Ok(forward.iter().filter_map(record).collect())
    }

    /// Counts the flows, and ends those that have been silent for too long or whose backend is
    /// gone; `generations` are those of the backends that are not.
    pub(crate) fn sweep(
        &self,
        datapath: &mut Datapath,
        timeouts: &Timeouts,
        generations: &Generations,
    ) -> Result<Sweep, DatapathError> {
        let mut sweep = Sweep::default();
        let mut candidates = Vec::new();
        let shortest = shortest(timeouts).as_nanos() as u64;
        let now = now_ns();
        self.for_each(|key, flow| {
            if flow.direction == Flow::FORWARD {
                sweep.flows += 1;
                *sweep.by_frontend.entry(flow.frontend).or_insert(0) += 1;
            }
            let is_orphan = generations.get(&flow.backend) != Some(&flow.backend_generation);
            if is_orphan || now.saturating_sub(flow.seen_ns) > shortest {
                candidates.push((*key, *flow, is_orphan));
            }
        })?;
        let expired = |(key, flow, is_orphan): &(FlowKey, Flow, bool)| {
            let (expired, is_over) = self.judge(key, flow, timeouts, now)?;
            (is_over || *is_orphan).then_some(expired)
        };
        let expired: Vec<Expired> = candidates.iter().filter_map(expired).collect();
        for run in expired.chunks(PER_RUN) {
            sweep.ended += u64::from(datapath.run_sweep(&list(run))?);
        }
        Ok(sweep)
    }

    /// How to end a flow, and whether its time has come. `None` for a reply entry that has its
    /// forward entry: that one is judged.
    fn judge(
        &self,
        key: &FlowKey,
        flow: &Flow,
        timeouts: &Timeouts,
        now: u64,
    ) -> Option<(Expired, bool)> {
        let other = self.get(&flow.opposite_key(key.protocol));
        let other = other.filter(|other| Flow::cookie(other.word) == Flow::cookie(flow.word));
        if flow.direction == Flow::REPLY && other.is_some() {
            return None;
        }
        let (word, key) = (flow.word, *key);
        if flow.direction == Flow::REPLY {
            // A remnant.
            return Some((
                Expired {
                    word,
                    seen_ns: flow.seen_ns,
                    key,
                },
                true,
            ));
        }
        let reply = other.unwrap_or_default();
        let seen_ns = flow.seen_ns.max(reply.seen_ns);
        let limit = timeout(timeouts, key.protocol, Phase::of(flow.word, reply.word));
        let is_over = now.saturating_sub(seen_ns) > limit.as_nanos() as u64;
        Some((Expired { word, seen_ns, key }, is_over))
    }
}

/// After how much silence a flow in this phase is forgotten.
fn timeout(timeouts: &Timeouts, protocol: u32, phase: Phase) -> Duration {
    let is_tcp = protocol == Number::Tcp.number();
    match phase {
        Phase::Opening if is_tcp => timeouts.opening,
        Phase::Opening => timeouts.udp_single,
        Phase::Live if is_tcp => timeouts.tcp_established,
        Phase::Live => timeouts.udp_stream,
        Phase::Closed | Phase::Dead => timeouts.tcp_closed,
    }
}

/// No flow is forgotten sooner.
fn shortest(timeouts: &Timeouts) -> Duration {
    timeouts
        .opening
        .min(timeouts.tcp_established)
        .min(timeouts.tcp_closed)
        .min(timeouts.udp_single)
        .min(timeouts.udp_stream)
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
    }
    bytes
}

fn record(key: &FlowKey, flow: &Flow, reply: &Flow, now: u64) -> Option<FlowRecord> {
    let idle_ns = now.saturating_sub(flow.seen_ns.max(reply.seen_ns));
    Some(FlowRecord {
        protocol: Number::from_number(key.protocol)?.into(),
        client: SocketAddrV4::new(key.source.into(), key.source_port),
        frontend: SocketAddrV4::new(key.destination.into(), key.destination_port),
        source: SocketAddrV4::new(flow.source.into(), flow.source_port),
        backend: SocketAddrV4::new(flow.destination.into(), flow.destination_port),
        state: Phase::of(flow.word, reply.word).name().into(),
        idle_seconds: idle_ns / 1_000_000_000,
        forward_packets: flow.packets,
        forward_bytes: flow.bytes,
        reply_packets: reply.packets,
        reply_bytes: reply.bytes,
    })
}

/// The clock of `seen_ns`.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
