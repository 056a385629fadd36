//! Reads flows in steps. A step reads some thousand entries and joins the two of each flow that is
//! meant; whoever wants no more drops the cursor, and nothing more is read.

use std::sync::Arc;

use aya::Pod;
use harbor_common::flow::{Flow, FlowKey, Phase};

use super::{FlowTable, FlowTables, Octets, at, ends};
use crate::{
    datapath::{clock::coarse_ns, error::DatapathError, tables::batch::Place},
    model::{FlowEnds, FlowFilter, FlowRecord},
};

/// How far the flows of both families were read, and which are meant. A flow that is there all the
/// time is met exactly once.
#[derive(Debug)]
pub(crate) struct FlowCursor {
    tables: Arc<FlowTables>,
    filter: FlowFilter,
    v4: Place,
    v6: Place,
}

impl FlowCursor {
    pub(crate) fn new(tables: Arc<FlowTables>, filter: FlowFilter) -> Self {
        Self {
            tables,
            filter,
            v4: Place::Start,
            v6: Place::Start,
        }
    }

    /// Where the next step begins: whether in the table of IPv6, and at which bucket.
    pub(crate) fn place(&self) -> (bool, Option<u32>) {
        let (is_v6, place) = match self.v4 {
            Place::End => (true, self.v6),
            v4 => (false, v4),
        };
        match place {
            Place::At(bucket) => (is_v6, Some(bucket)),
            Place::Start | Place::End => (is_v6, None),
        }
    }

    /// Goes on where another cursor was.
    pub(crate) fn go_to(&mut self, (is_v6, bucket): (bool, Option<u32>)) {
        let place = bucket.map_or(Place::Start, Place::At);
        (self.v4, self.v6) = match is_v6 {
            true => (Place::End, place),
            false => (place, Place::Start),
        };
    }

    /// Whether everything was read.
    pub(crate) fn is_at_end(&self) -> bool {
        [self.v4, self.v6] == [Place::End; 2]
    }

    /// Those that are meant among the next entries, in no order.
    pub(crate) fn rows(&mut self) -> Result<Vec<FlowRecord>, DatapathError> {
        let mut rows = Vec::new();
        match self.v4 {
            Place::End => self.tables.v6.rows(&mut self.v6, &self.filter, &mut rows)?,
            _ => self.tables.v4.rows(&mut self.v4, &self.filter, &mut rows)?,
        }
        Ok(rows)
    }

    /// How many are meant among the next entries.
    pub(crate) fn count(&mut self) -> Result<u64, DatapathError> {
        match self.v4 {
            Place::End => self.tables.v6.count(&mut self.v6, &self.filter),
            _ => self.tables.v4.count(&mut self.v4, &self.filter),
        }
    }
}

impl<A: Octets + Pod + std::hash::Hash> FlowTable<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fn rows(
        &self,
        place: &mut Place,
        filter: &FlowFilter,
        rows: &mut Vec<FlowRecord>,
    ) -> Result<(), DatapathError> {
        let now = coarse_ns();
        self.step(place, |key, flow| {
            if let Some(ends) = ends(key, flow).filter(|ends| filter.holds(ends)) {
                let reply = self.other(key, flow).unwrap_or_default();
                rows.push(record(ends, (flow, &reply), now));
            }
        })
    }

    fn count(&self, place: &mut Place, filter: &FlowFilter) -> Result<u64, DatapathError> {
        let mut count = 0;
        self.step(place, |key, flow| {
            let is_meant = ends(key, flow).is_some_and(|ends| filter.holds(&ends));
            count += u64::from(is_meant);
        })?;
        Ok(count)
    }
}

fn record<A: Octets>(ends: FlowEnds, (flow, reply): (&Flow<A>, &Flow<A>), now: u64) -> FlowRecord {
    let idle_ns = now.saturating_sub(flow.seen_ns.max(reply.seen_ns));
    FlowRecord {
        protocol: ends.protocol,
        client: ends.client,
        frontend: ends.frontend,
        source: at(flow.source, flow.source_port),
        backend: ends.backend,
        state: Phase::of(flow.word, reply.word).name().into(),
        idle_seconds: idle_ns / 1_000_000_000,
        forward_packets: flow.packets,
        forward_bytes: flow.bytes,
        reply_packets: reply.packets,
        reply_bytes: reply.bytes,
    }
}
