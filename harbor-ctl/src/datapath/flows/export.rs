//! Flows as other nodes of a share are told of them: those that have just begun, found by the rings, and those
//! that are in use, found in the tables.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use aya::{
    Pod,
    maps::{Array, MapData},
};
use harbor_common::{
    addr::{Family as _, Ip, Ipv4, Ipv6},
    adoption::Adoption,
    flow::{Flow, FlowKey, Hand, OPENED_SHIFT, Phase, RingSlot},
    maps::{HANDS, RING, RING_SHARES, RING_SLOTS, RING6, SHARES_PER_RING, ring_slots},
};

use super::FlowTables;
use crate::{
    datapath::{
        clock::coarse_ns,
        error::{DatapathError, Tried as _},
        former::{FormerFlows, FormerKey, FormerPlace, octets},
        program::pins::Pins,
        tables::open,
    },
    model::FlowCopy,
};

/// A flow that nobody has answered for this long is told of by the next way through the tables.
const YOUNG: Duration = Duration::from_secs(10);

/// Reads flows to tell others of them.
pub(crate) struct FlowExport {
    flows: FormerFlows,
    hands: Array<MapData, Hand>,
    ring: Array<MapData, RingSlot<Ipv4>>,
    ring6: Array<MapData, RingSlot<Ipv6>>,
    /// Places of a ring that are in use, less one.
    mask: u64,
    /// How many flows had begun in each ring when it was read last.
    read: Vec<u64>,
    /// Flows that have begun, and that nobody has answered yet.
    young: Vec<(FormerKey, Instant)>,
}

/// What has begun since the last look.
#[derive(Debug, Default)]
pub(crate) struct Births {
    pub(crate) flows: Vec<FlowCopy>,
    /// A ring has gone round: the tables tell what was missed.
    pub(crate) has_missed: bool,
}

impl FlowExport {
    /// Begins with what begins from now on.
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let capacity = FlowTables::open(pins)?.capacity()?;
        let mut export = Self {
            flows: FormerFlows::own(pins)?,
            hands: open(pins, HANDS)?,
            ring: open(pins, RING)?,
            ring6: open(pins, RING6)?,
            mask: u64::from(ring_slots(capacity) * SHARES_PER_RING - 1),
            read: Vec::new(),
            young: Vec::new(),
        };
        export.read = export.counts()?;
        Ok(export)
    }

    fn counts(&self) -> Result<Vec<u64>, DatapathError> {
        let count = |ring| {
            let hand = self.hands.get(&ring, 0);
            hand.map(|hand| hand.count)
                .tried(|| format!("cannot read {HANDS}"))
        };
        (0..2 * RING_SHARES).map(count).collect()
    }

    /// Flows of these public addresses that have begun since the last look, and are in use.
    pub(crate) fn births(
        &mut self,
        is_meant: impl Fn(&IpAddr) -> bool,
    ) -> Result<Births, DatapathError> {
        let mut births = Births::default();
        let counts = self.counts()?;
        for (ring, count) in (0..).zip(&counts) {
            let before = std::mem::replace(&mut self.read[ring as usize], *count);
            if count.saturating_sub(before) > self.mask {
                births.has_missed = true;
                continue;
            }
            for number in before..*count {
                self.note(ring, number, &is_meant)?;
            }
        }
        let (flows, now) = (&self.flows, Instant::now());
        let mut failed = None;
        self.young.retain(|(key, born)| {
            let flow = match flows.flow(key) {
                Ok(Some(flow)) => flow,
                // It has ended, or has not begun after all.
                Ok(None) => return born.elapsed() < Duration::from_secs(1),
                Err(error) => {
                    failed = Some(error);
                    return true;
                }
            };
            if is_in_use(&flow) {
                births.flows.extend(copy(&flow));
                return false;
            }
            now.duration_since(*born) < YOUNG
        });
        failed.map_or(Ok(births), Err)
    }

    /// Notes the flow that took a place of a ring.
    fn note(
        &mut self,
        ring: u32,
        number: u64,
        is_meant: impl Fn(&IpAddr) -> bool,
    ) -> Result<(), DatapathError> {
        let (share, is_v4) = (ring % RING_SHARES, ring < RING_SHARES);
        let index = share * RING_SLOTS + (number & self.mask) as u32;
        let key = match is_v4 {
            true => {
                let slot = self.ring.get(&index, 0).tried(|| RING.into())?;
                (slot.cookie != 0).then(|| key(is_v4, &slot.key, slot.key.destination.ip()))
            }
            false => {
                let slot = self.ring6.get(&index, 0).tried(|| RING6.into())?;
                (slot.cookie != 0).then(|| key(is_v4, &slot.key, slot.key.destination.ip()))
            }
        };
        if let Some((key, public)) = key
            && is_meant(&public)
        {
            self.young.push((key, Instant::now()));
        }
        Ok(())
    }

    /// The next flows of these public addresses that are in use, and whose clients have sent something within
    /// `within`.
    pub(crate) fn step(
        &self,
        place: &mut FormerPlace,
        within: Duration,
        is_meant: impl Fn(&IpAddr) -> bool,
    ) -> Result<Vec<FlowCopy>, DatapathError> {
        let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        let since_ns = coarse_ns().saturating_sub(within);
        let mut copies = Vec::new();
        for key in self.flows.step_since(place, since_ns)? {
            if let Some(flow) = self.flows.flow(&key)?
                && is_meant(&Ip::from(flow_public(&flow)).into())
                && has_been_used(&flow)
            {
                copies.extend(copy(&flow));
            }
        }
        Ok(copies)
    }
}

fn key<A: Copy>(is_v4: bool, key: &FlowKey<A>, public: Ip) -> (FormerKey, IpAddr)
where
    FlowKey<A>: Pod,
{
    let key = octets(key).to_vec();
    (FormerKey { is_v4, key }, public.into())
}

/// Whether both sides use a flow, so that it is worth going on elsewhere.
fn is_in_use(flow: &Adoption) -> bool {
    matches!(
        Phase::of(flow.word, flow.reply_bits),
        Phase::Live | Phase::Stream
    )
}

/// The same, or it is over: who has a copy is to hear of that.
fn has_been_used(flow: &Adoption) -> bool {
    flow.word & Flow::<Ipv4>::LIVE != 0
}

fn flow_public(flow: &Adoption) -> IpAddr {
    narrowed(flow.family, flow.key.destination)
}

/// An address of a flow, of which IPv4 ones stand in the last four octets.
fn narrowed(family: u32, address: Ipv6) -> IpAddr {
    let [.., a, b, c, d] = address.octets;
    match family == Ipv4::INDEX {
        true => IpAddr::from([a, b, c, d]),
        false => address.octets.into(),
    }
}

fn widened(address: IpAddr) -> Ipv6 {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(v4) => octets[12..].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets = v6.octets(),
    }
    Ipv6 { octets }
}

fn copy(flow: &Adoption) -> Option<FlowCopy> {
    let at = |address, port| SocketAddr::new(narrowed(flow.family, address), port);
    let now = coarse_ns();
    let seen = flow.seen_ns[0].max(flow.seen_ns[1]);
    let idle_ms = now.saturating_sub(seen) / 1_000_000;
    let opened_ago = ((now >> OPENED_SHIFT) as u32).wrapping_sub(flow.opened);
    Some(FlowCopy {
        protocol: u8::try_from(flow.key.protocol).ok()?,
        client: at(flow.key.source, flow.key.source_port),
        public: at(flow.key.destination, flow.key.destination_port),
        backend: at(flow.backend_address, flow.backend_port),
        source: at(flow.source, flow.source_port),
        word: flow.word,
        reply_bits: u16::try_from(flow.reply_bits).ok()?,
        idle_ms: u32::try_from(idle_ms).unwrap_or(u32::MAX),
        // A unit is a little more than a millisecond.
        age_ms: opened_ago,
        acknowledged: flow.acknowledged,
        next_sequence: flow.next_sequence,
    })
}

/// A copy as the program takes it, but for its backend, frontend and interfaces here; `None`: its families differ.
pub(crate) fn adoption(copy: &FlowCopy) -> Option<Adoption> {
    let is_v4 = copy.public.is_ipv4();
    let ends = [copy.client, copy.public, copy.backend, copy.source];
    if ends.iter().any(|end| end.is_ipv4() != is_v4) {
        return None;
    }
    let now = coarse_ns();
    let seen_ns = now.saturating_sub(u64::from(copy.idle_ms) * 1_000_000);
    Some(Adoption {
        word: copy.word,
        seen_ns: [seen_ns; 2],
        packets: [0; 2],
        bytes: [0; 2],
        key: FlowKey {
            source: widened(copy.client.ip()),
            destination: widened(copy.public.ip()),
            source_port: copy.client.port(),
            destination_port: copy.public.port(),
            protocol: copy.protocol.into(),
        },
        backend_address: widened(copy.backend.ip()),
        source: widened(copy.source.ip()),
        backend_port: copy.backend.port(),
        source_port: copy.source.port(),
        family: if is_v4 { Ipv4::INDEX } else { Ipv6::INDEX },
        acknowledged: copy.acknowledged,
        next_sequence: copy.next_sequence,
        opened: ((now >> OPENED_SHIFT) as u32).wrapping_sub(copy.age_ms),
        reply_bits: copy.reply_bits.into(),
        ..Adoption::default()
    })
}
