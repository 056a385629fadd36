//! A worker's connections: takes them in, wakes them, ends them.
//!
//! Times at which opening connections lose their patience stand in one queue; idle ones are looked
//! for once a second. Connections that rest or have used up their turn stand in lists.

pub(super) mod connect;
pub(super) mod connection;
mod opening;
pub(super) mod pipes;
pub(super) mod proxy_header;
pub(super) mod relay;
pub(super) mod tls;

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use rustix::event::epoll::EventFlags;
use slab::Slab;

use super::{
    flows::Home,
    select::{frontend::Frontend, limits::release},
    worker::{
        descriptors::Descriptor,
        poll::{Name, Poll},
        shared::Common,
    },
};
use crate::model::{FlowFilter, FlowRecord, Protocol};
use connect::reset;
use connection::{Connection, Context, Next, Side, Stage};
use opening::Search;
use relay::Kit;

/// Connections, or flows of datagrams, that are looked at for one part of a list: others wait meanwhile.
pub(super) const LISTED: usize = 4_096;
/// A connection whose port's bytes are used up is not looked at more often.
const REST: u64 = 2_000_000;

/// The connections of a worker.
pub(super) struct Connections {
    /// Whose they are, by number.
    worker: usize,
    table: Slab<(u32, Connection)>,
    /// Rises with every connection.
    turn: u32,
    opening: BinaryHeap<Reverse<(u64, Name)>>,
    /// Who has used up its turn.
    again: Vec<Name>,
    /// Who rests, and until when.
    resting: Vec<(u64, Name)>,
    kit: Kit,
}

/// What connections need of their worker.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) common: &'a Common,
    pub(super) poll: &'a Poll,
    pub(super) now: u64,
}

impl Connections {
    pub(super) fn new(worker: usize, kit: Kit) -> Self {
        Self {
            worker,
            table: Slab::new(),
            turn: 0,
            opening: BinaryHeap::new(),
            again: Vec::new(),
            resting: Vec::new(),
            kit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Takes a connection in, or resets it.
    pub(super) fn accept(
        &mut self,
        client: (Descriptor, std::net::SocketAddr),
        frontend: Option<&Arc<Frontend>>,
        here: Here<'_>,
    ) {
        let Some(frontend) = frontend else {
            return reset(&client.0);
        };
        let from = client.1.ip();
        self.turn = self.turn.wrapping_add(1);
        let entry = self.table.vacant_entry();
        let name = Name::new(entry.key(), self.turn);
        let home = Home {
            worker: self.worker,
            protocol: Protocol::Tcp,
            name,
        };
        let Some((holding, leaving)) = here.common.admit(frontend, from, home, here.now) else {
            return reset(&client.0);
        };
        let ground = Context {
            common: here.common,
            poll: here.poll,
            kit: &mut self.kit,
            now: here.now,
        };
        let place = (name, holding);
        match Connection::open(client, Arc::clone(frontend), place, &ground) {
            Some(connection) => {
                here.common.begin(frontend);
                if let Stage::Opening { until } = connection.stage {
                    self.opening.push(Reverse((until, name)));
                }
                entry.insert((name.turn, connection));
            }
            None => release(frontend, from),
        }
        leaving
            .into_iter()
            .for_each(|name| self.make_room(name, here));
    }

    /// One of a connection's sockets has news.
    pub(super) fn hear(&mut self, name: Name, side: Side, flags: EventFlags, here: Here<'_>) {
        self.with(name, here, |connection, ground| {
            connection.hear(side, flags, ground)
        });
    }

    /// Does what is due, and says when to come again.
    pub(super) fn turn(&mut self, here: Here<'_>) {
        for name in std::mem::take(&mut self.again) {
            self.wake(name, here);
        }
        let due = |(until, _): &(u64, Name)| *until <= here.now;
        if self.resting.iter().any(due) {
            let (due, rest) = std::mem::take(&mut self.resting).into_iter().partition(due);
            self.resting = rest;
            let due: Vec<(u64, Name)> = due;
            due.into_iter().for_each(|(_, name)| self.wake(name, here));
        }
        while let Some(Reverse((until, name))) = self.opening.peek().copied()
            && until <= here.now
        {
            self.opening.pop();
            self.with(name, here, |connection, ground| {
                connection.lose_patience(ground)
            });
        }
    }

    /// When `turn` has something to do.
    pub(super) fn next_turn(&self, now: u64) -> Option<u64> {
        let opening = self.opening.peek().map(|Reverse((until, _))| *until);
        let resting = self.resting.iter().map(|(until, _)| *until).min();
        let again = (!self.again.is_empty()).then_some(now);
        [opening, resting, again].into_iter().flatten().min()
    }

    /// Ends the connections that have been silent for too long.
    pub(super) fn sweep(&mut self, here: Here<'_>) {
        for (_, (_, connection)) in &mut self.table {
            connection.settle(here.now);
        }
        self.end_where(here, |connection| {
            connection.is_stale(here.common, here.now)
        });
    }

    /// The ports are others now: their connections hear of it, and those whose backend is gone or
    /// whose client is denied now end.
    pub(super) fn reform(
        &mut self,
        find: impl Fn(&Frontend) -> Option<Option<Arc<Frontend>>>,
        here: Here<'_>,
    ) {
        let mut lost = Vec::new();
        for (index, (turn, connection)) in &mut self.table {
            let mut is_denied = false;
            if let Some(Some(new)) = find(&connection.frontend)
                && new.service.id == connection.frontend.service.id
            {
                is_denied = !new.lists.allow(connection.address.ip());
                connection.frontend = new;
            }
            if is_denied || connection.leg.backend.is_gone() {
                lost.push((Name::new(index, *turn), is_denied));
            }
        }
        for (name, is_denied) in lost {
            // One that is still on its way may find another backend.
            self.with(name, here, |connection, _| match connection.stage {
                Stage::Opening { .. } if !is_denied => Next::Retry(Search::Instead),
                _ => Next::Reset,
            });
        }
    }

    /// Those that are meant among the next few thousand from a place on, and where the rest begins.
    pub(super) fn records(
        &self,
        filter: &FlowFilter,
        from: usize,
        now: u64,
    ) -> (Vec<FlowRecord>, Option<usize>) {
        let to = self.table.capacity().min(from.saturating_add(LISTED));
        let all = (from..to).filter_map(|index| self.table.get(index));
        let meant = all.filter(|(_, connection)| filter.holds(&connection.sketch(now).ends()));
        let records = meant.filter_map(|(_, connection)| connection.record(now));
        let rest = (to < self.table.capacity()).then_some(to);
        (records.collect(), rest)
    }

    /// How many connections are meant.
    pub(super) fn count(&self, filter: &FlowFilter, now: u64) -> u64 {
        let all = self.table.iter();
        let meant = all.filter(|(_, (_, c))| filter.holds(&c.sketch(now).ends()));
        meant.count() as u64
    }

    /// Resets the connections that are meant; how many those were.
    pub(super) fn end(&mut self, filter: &FlowFilter, here: Here<'_>) -> u64 {
        self.end_where(here, |connection| {
            filter.holds(&connection.sketch(here.now).ends())
        })
    }

    /// Resets a connection that is to make room, unless it has come into use.
    pub(super) fn make_room(&mut self, name: Name, here: Here<'_>) {
        self.with(name, here, |connection, ground| {
            match connection.rank(ground.now) {
                Some(_) => {
                    connection.holding.count_end();
                    Next::Reset
                }
                None => {
                    connection.holding.stay();
                    Next::Wait
                }
            }
        });
    }

    /// Resets all of them.
    pub(super) fn end_all(&mut self, here: Here<'_>) {
        self.end_where(here, |_| true);
    }

    fn end_where(&mut self, here: Here<'_>, is_meant: impl Fn(&Connection) -> bool) -> u64 {
        let all = self.table.iter();
        let meant = all.filter(|(_, (_, connection))| is_meant(connection));
        let names: Vec<Name> = meant
            .map(|(index, (turn, _))| Name::new(index, *turn))
            .collect();
        for name in &names {
            self.with(*name, here, |_, _| Next::Reset);
        }
        names.len() as u64
    }

    fn wake(&mut self, name: Name, here: Here<'_>) {
        self.with(name, here, |connection, ground| {
            connection.is_listed = false;
            connection.carry(ground)
        });
    }

    /// Lets a connection do something, and draws the consequences.
    fn with(
        &mut self,
        name: Name,
        here: Here<'_>,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> Next,
    ) {
        let index = name.index as usize;
        let Some((_, connection)) = self.table.get_mut(index).filter(|c| c.0 == name.turn) else {
            return;
        };
        let mut ground = Context {
            common: here.common,
            poll: here.poll,
            kit: &mut self.kit,
            now: here.now,
        };
        let next = act(connection, &mut ground);
        connection.settle(here.now);
        match next {
            Next::Wait => {}
            Next::Again if !connection.is_listed => {
                connection.is_listed = true;
                self.again.push(name);
            }
            Next::Rest(rest) if !connection.is_listed => {
                connection.is_listed = true;
                self.resting.push((here.now + rest.max(REST), name));
            }
            Next::Again | Next::Rest(_) => {}
            Next::Retry(search) => match connection.seek(search, name, &ground) {
                Some(until) => self.opening.push(Reverse((until, name))),
                None => self.remove(index, Next::Reset, here),
            },
            end @ (Next::Over | Next::Reset) => self.remove(index, end, here),
        }
    }

    fn remove(&mut self, index: usize, end: Next, here: Here<'_>) {
        let (_, connection) = self.table.remove(index);
        here.common
            .end(&connection.frontend, connection.address.ip());
        connection.close(&mut self.kit, end);
    }
}
