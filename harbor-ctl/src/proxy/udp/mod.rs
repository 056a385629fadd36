//! A worker's UDP flows: finds the flow of each datagram, opens new ones, forgets silent ones.
//!
//! All datagrams of a number go to one worker, so that a client's datagrams keep their order.

pub(super) mod datagrams;
mod errors;
mod flow;

use std::{collections::HashMap, sync::Arc};

use rustix::event::epoll::EventFlags;
use slab::Slab;

use super::{
    flows::Home,
    ports::socket::{Key, PortSocket},
    select::frontend::Frontend,
    tcp::{Here, LISTED},
    worker::{poll::Name, shared::is_own},
};
use crate::model::{FlowFilter, FlowRecord, Protocol};
use datagrams::{Batch, Origin};
use flow::UdpFlow;

/// Batches that one socket may take before others have their turn.
const BATCHES: usize = 4;

/// The flows of a worker.
pub(super) struct Flows {
    table: Table,
    batch: Batch,
}

struct Table {
    /// Whose they are, by number.
    worker: usize,
    flows: Slab<(u32, UdpFlow)>,
    names: HashMap<(u16, Origin), u32>,
    turn: u32,
}

impl Flows {
    pub(super) fn new(worker: usize) -> Self {
        Self {
            table: Table {
                worker,
                flows: Slab::new(),
                names: HashMap::new(),
                turn: 0,
            },
            batch: Batch::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.flows.is_empty()
    }

    /// Clients have sent to a number. `is_ours` says whether a UDP port is held here.
    pub(super) fn receive(
        &mut self,
        seat: &Arc<PortSocket>,
        frontend: Option<&Arc<Frontend>>,
        is_ours: impl Fn(u16) -> bool,
        here: Here<'_>,
    ) {
        for _ in 0..BATCHES {
            // An error is an earlier answer's, whose client is gone.
            let Ok(count) = self.batch.receive(&seat.socket) else {
                return;
            };
            let Some(frontend) = frontend else {
                continue;
            };
            let mut index = 0;
            while index < count {
                let origin = self.batch.origin(index);
                let same = |next: &usize| self.batch.origin(*next) == origin;
                let end = index + (index..count).take_while(same).count();
                let payloads: Vec<&[u8]> = (index..end).map(|i| self.batch.payload(i)).collect();
                if let Some(origin) = origin
                    && let Some(place) = self.table.place((seat, frontend), origin, &is_ours, here)
                {
                    self.table.forward(place, &payloads, here);
                }
                index = end.max(index + 1);
            }
            if count < datagrams::BATCH {
                return;
            }
        }
    }

    /// A backend has sent, or there is news of it.
    pub(super) fn hear(&mut self, name: Name, flags: EventFlags, here: Here<'_>) {
        let index = name.index as usize;
        let flow = self.table.flows.get_mut(index);
        let Some((_, flow)) = flow.filter(|(turn, _)| *turn == name.turn) else {
            return;
        };
        for _ in 0..BATCHES {
            if !flow.reply(&mut self.batch, here) {
                break;
            }
        }
        flow.settle(here.now);
        // The first of them has come with the call that was to receive.
        if flags.contains(EventFlags::ERR) {
            flow.hear_errors(&mut Vec::new(), here);
        }
    }

    /// Forgets the flows that have been silent for too long.
    pub(super) fn sweep(&mut self, here: Here<'_>) {
        for (_, (_, flow)) in &mut self.table.flows {
            flow.settle(here.now);
        }
        self.table
            .end_where(here, |flow| flow.is_stale(here.common, here.now));
    }

    /// The ports are others now. A port that is gone, or is another service's, takes its flows along;
    /// so does a list that denies a client now.
    pub(super) fn reform(
        &mut self,
        find: impl Fn(&Frontend) -> Option<Option<Arc<Frontend>>>,
        here: Here<'_>,
    ) {
        let is_over = |flow: &UdpFlow| match find(&flow.frontend) {
            None => false,
            Some(None) => true,
            Some(Some(new)) => {
                new.service.id != flow.frontend.service.id
                    || !new.lists.allow(flow.origin.client.ip())
            }
        };
        self.table.end_where(here, is_over);
        for (_, (_, flow)) in &mut self.table.flows {
            if let Some(Some(new)) = find(&flow.frontend) {
                flow.frontend = new;
            }
            if flow.is_lost() {
                flow.unbind();
            }
        }
    }

    /// Those that are meant among the next few thousand from a place on, and where the rest begins.
    pub(super) fn records(
        &self,
        filter: &FlowFilter,
        from: usize,
        now: u64,
    ) -> (Vec<FlowRecord>, Option<usize>) {
        let flows = &self.table.flows;
        let to = flows.capacity().min(from.saturating_add(LISTED));
        let all = (from..to).filter_map(|index| flows.get(index));
        let meant = all.filter(|(_, flow)| flow.is_meant(filter, now));
        let records = meant.filter_map(|(_, flow)| flow.record(now));
        (records.collect(), (to < flows.capacity()).then_some(to))
    }

    /// How many flows are meant.
    pub(super) fn count(&self, filter: &FlowFilter, now: u64) -> u64 {
        let all = self.table.flows.iter();
        let meant = all.filter(|(_, (_, flow))| flow.is_meant(filter, now));
        meant.count() as u64
    }

    /// Forgets the flows that are meant; how many those were.
    pub(super) fn end(&mut self, filter: &FlowFilter, here: Here<'_>) -> u64 {
        self.table
            .end_where(here, |flow| flow.is_meant(filter, here.now))
    }

    /// Forgets a flow that is to make room, unless it has come into use.
    pub(super) fn make_room(&mut self, name: Name, here: Here<'_>) {
        self.table.make_room(name, here);
    }

    /// Forgets the flows of a number.
    pub(super) fn end_of(&mut self, key: Key, here: Here<'_>) {
        self.table.end_where(here, |flow| flow.seat.key == key);
    }
}

impl Table {
    /// The flow of a datagram, a new one if it has none and may have one.
    fn place(
        &mut self,
        (seat, frontend): (&Arc<PortSocket>, &Arc<Frontend>),
        origin: Origin,
        is_ours: impl Fn(u16) -> bool,
        here: Here<'_>,
    ) -> Option<u32> {
        let known = (seat.key.1, origin);
        if let Some(index) = self.names.get(&known) {
            return Some(*index);
        }
        let client = origin.client;
        // A datagram that claims to come from one of the numbers here would be answered to it: a loop.
        if is_ours(client.port()) && (client.ip() == origin.dialled || is_own(client.ip())) {
            return None;
        }
        if client.port() == 0 || frontend.roster().takers.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let entry = self.flows.vacant_entry();
        let name = Name::new(entry.key(), self.turn);
        let home = Home {
            worker: self.worker,
            protocol: Protocol::Udp,
            name,
        };
        let (holding, leaving) = here.common.admit(frontend, client.ip(), home, here.now)?;
        here.common.begin(frontend);
        let ends = (Arc::clone(seat), Arc::clone(frontend));
        let flow = UdpFlow::new(ends, origin, holding, here.now);
        entry.insert((name.turn, flow));
        let index = name.index;
        self.names.insert(known, index);
        leaving
            .into_iter()
            .for_each(|name| self.make_room(name, here));
        Some(index)
    }

    fn forward(&mut self, index: u32, payloads: &[&[u8]], here: Here<'_>) {
        let Some((turn, flow)) = self.flows.get_mut(index as usize) else {
            return;
        };
        let name = Name::new(index as usize, *turn);
        if !flow.forward(payloads, name, here) {
            // Without a backend it is no flow: what comes next is judged anew.
            return self.remove(index as usize, here);
        }
        flow.settle(here.now);
    }

    fn make_room(&mut self, name: Name, here: Here<'_>) {
        let index = name.index as usize;
        match self.flows.get(index) {
            Some((turn, flow)) if *turn == name.turn => match flow.rank(here.now) {
                Some(_) => {
                    flow.holding.count_end();
                    self.remove(index, here);
                }
                None => flow.holding.stay(),
            },
            _ => {}
        }
    }

    fn end_where(&mut self, here: Here<'_>, is_meant: impl Fn(&UdpFlow) -> bool) -> u64 {
        let all = self.flows.iter();
        let meant = all.filter(|(_, (_, flow))| is_meant(flow));
        let indexes: Vec<usize> = meant.map(|(index, _)| index).collect();
        for index in &indexes {
            self.remove(*index, here);
        }
        indexes.len() as u64
    }

    fn remove(&mut self, index: usize, here: Here<'_>) {
        let (_, mut flow) = self.flows.remove(index);
        self.names.remove(&(flow.seat.key.1, flow.origin));
        flow.unbind();
        here.common.end(&flow.frontend, flow.origin.client.ip());
    }
}
