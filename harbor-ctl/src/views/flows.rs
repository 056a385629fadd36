//! A list of flows as it is shown: with their services, to a limit, in an order as far as it goes.
//!
//! Rows are made while they are read. As many as fit one step are in the order of port, protocol, client
//! and source; of more, each step is.

use std::collections::HashMap;

use super::Snapshot;
use crate::{
    api::FlowItem,
    control::{Answer, FlowSource},
    forwarding::{flow_reader::FlowReader, not_ready},
    model::{FlowFilter, FlowRecord, Protocol},
};

/// A list of at most so many flows is in order as a whole. A step may hold twice as many.
const ORDERED: usize = 4_096;

/// Flows that are read while they are shown.
#[derive(Debug)]
pub(crate) struct FlowList {
    reader: FlowReader,
    /// Names of services, by their ports.
    names: HashMap<(Protocol, u16), String>,
    /// How many more are wanted.
    wanted: usize,
    read: usize,
    is_at_end: bool,
}

impl FlowList {
    pub(crate) fn new(snapshot: &Snapshot, filter: &FlowFilter, limit: Option<usize>) -> Self {
        let halves = snapshot.services.iter().flat_map(|service| {
            let each = service.protocols.each().iter();
            each.map(|&protocol| ((protocol, service.port), service.name.clone()))
        });
        Self {
            reader: snapshot.engines.flows(filter),
            names: halves.collect(),
            wanted: limit.unwrap_or(usize::MAX),
            read: 0,
            is_at_end: false,
        }
    }

    fn item(&self, flow: FlowRecord) -> FlowItem {
        let port = flow.frontend.port();
        FlowItem {
            port,
            service: self.names.get(&(flow.protocol, port)).cloned(),
            flow,
        }
    }
}

impl FlowSource for FlowList {
    fn place(&self) -> Option<String> {
        self.reader.place()
    }

    fn go_to(&mut self, place: &str) -> bool {
        self.reader.go_to(place)
    }

    async fn next(&mut self) -> Answer<Option<Vec<FlowItem>>> {
        let mut rows = Vec::new();
        while rows.len() < ORDERED && self.wanted > 0 && !self.is_at_end {
            match self.reader.next().await.map_err(not_ready)? {
                Some(more) => rows.extend(more),
                None => self.is_at_end = true,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        self.read += rows.len();
        rows.sort_unstable_by_key(|flow| {
            let port = flow.frontend.port();
            (port, flow.protocol, flow.client, flow.source)
        });
        rows.truncate(self.wanted);
        self.wanted -= rows.len();
        let items = rows.into_iter().map(|flow| self.item(flow));
        Ok(Some(items.collect()))
    }
}

impl Drop for FlowList {
    fn drop(&mut self) {
        let (flows, is_at_end) = (self.read, self.is_at_end);
        tracing::trace!(flows, is_at_end, "a list of flows has ended");
    }
}
