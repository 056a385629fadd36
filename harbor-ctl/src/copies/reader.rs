//! Reads the flows of the shares that this node has, and hands them to whoever tells the peers.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{
    CopyPlan,
    peer::{Batch, Peer, Peers},
};
use crate::{
    forwarding::{FlowExport, FlowPlace, ForwardingError},
    model::FlowCopy,
};

/// Flows of one batch.
const BATCH: usize = 1_000;
/// Batches that a peer must have room for, before a way through the tables goes on.
const ROOM: usize = 8;
/// How long a turn may read tables.
const TURN: Duration = Duration::from_millis(20);
/// How often the flows in use are told again.
const WAY: Duration = Duration::from_secs(4);
/// What was seen this long before the last way began may have come after it was read.
const OVERLAP: Duration = Duration::from_secs(1);
/// For a way of everything.
const EVER: Duration = Duration::MAX;

/// A way through the tables that is under way.
#[derive(Debug)]
struct Way {
    place: FlowPlace,
    within: Duration,
    /// Who is told; `None`: everybody.
    only: Option<String>,
}

/// How far flows were read.
#[derive(Default)]
pub(super) struct Reader {
    export: Option<FlowExport>,
    ways: Vec<Way>,
    /// When the last way of flows in use began.
    last: Option<Instant>,
}

impl Reader {
    /// Tells what has begun since the last turn, and goes on with the ways through the tables.
    pub(super) fn turn(&mut self, plan: &CopyPlan, peers: &Peers) {
        if let Err(error) = self.try_turn(plan, peers) {
            tracing::warn!("flows cannot be read to be told: {error}");
            self.export = None;
        }
    }

    fn try_turn(&mut self, plan: &CopyPlan, peers: &Peers) -> Result<(), ForwardingError> {
        if self.export.is_none() {
            let export = plan.engines.as_ref().and_then(|engines| engines.export());
            self.export = export.transpose()?;
            (self.ways, self.last) = (Vec::new(), None);
        }
        let Some(export) = &mut self.export else {
            return Ok(());
        };
        let now = Instant::now();
        let births = export.births(|public| plan.told.contains_key(public))?;
        let is_full = hand_on(&births.flows, plan, (peers, None), now);
        for (node, peer) in peers {
            if peer.wants_all.swap(false, Relaxed) {
                self.ways.retain(|way| way.only.as_ref() != Some(node));
                self.ways.push(Way {
                    place: FlowPlace::default(),
                    within: EVER,
                    only: Some(node.clone()),
                });
            }
        }
        self.begin_way(now, births.has_missed || is_full);
        while now.elapsed() < TURN && self.go_on(plan, peers)? {}
        Ok(())
    }

    /// Begins a way of the flows in use, if it is time, or something was missed.
    fn begin_way(&mut self, now: Instant, has_missed: bool) {
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= WAY);
        let is_under_way = self.ways.iter().any(|way| way.only.is_none());
        if is_under_way || !(is_due || has_missed) {
            return;
        }
        let since_last = |last| now.duration_since(last) + OVERLAP;
        let within = self.last.map_or(EVER, since_last);
        self.last = Some(now);
        self.ways.push(Way {
            place: FlowPlace::default(),
            within,
            only: None,
        });
    }

    /// One step of the first way; whether there is more to do, and room for it.
    fn go_on(&mut self, plan: &CopyPlan, peers: &Peers) -> Result<bool, ForwardingError> {
        let (Some(export), Some(way)) = (&self.export, self.ways.first_mut()) else {
            return Ok(false);
        };
        let has_room = |peer: &Peer| peer.batches.capacity() > ROOM;
        let may_go_on = match &way.only {
            Some(node) => peers.get(node).is_none_or(has_room),
            None => peers.values().any(has_room),
        };
        if !may_go_on {
            // Another way may find room.
            self.ways.rotate_left(1);
            return Ok(false);
        }
        let is_meant = |public: &std::net::IpAddr| plan.told.contains_key(public);
        let flows = export.step(&mut way.place, way.within, is_meant)?;
        let only = way.only.as_ref();
        hand_on(&flows, plan, (peers, only), Instant::now());
        if way.place.is_at_end() {
            if let Some(peer) = only.and_then(|node| peers.get(node)) {
                let _ = peer.batches.try_send(Batch {
                    is_last_of_all: true,
                    ..Batch::empty()
                });
            }
            self.ways.remove(0);
        }
        Ok(true)
    }
}

/// Hands flows to those who are to be told of them; whether one had no room for them.
fn hand_on(
    flows: &[FlowCopy],
    plan: &CopyPlan,
    (peers, only): (&Peers, Option<&String>),
    read_at: Instant,
) -> bool {
    let mut is_full = false;
    for part in flows.chunks(BATCH) {
        let mut batches: BTreeMap<&String, (Vec<u8>, usize)> = BTreeMap::new();
        for flow in part {
            let told = plan.told.get(&flow.public.ip()).into_iter().flatten();
            for node in told.filter(|node| only.is_none_or(|only| only == *node)) {
                let (octets, count) = batches.entry(node).or_default();
                flow.encode(octets);
                *count += 1;
            }
        }
        for (node, (octets, flows)) in batches {
            let Some(peer) = peers.get(node) else {
                continue;
            };
            let batch = Batch {
                octets,
                flows,
                read_at,
                is_last_of_all: false,
            };
            if peer.batches.try_send(batch).is_err() {
                is_full = true;
                peer.wants_all.store(true, Relaxed);
            }
        }
    }
    is_full
}
