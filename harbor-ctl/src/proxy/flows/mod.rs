//! The flows of the proxy, by port and by client, with the descriptors that each holds and what it
//! has carried.
//!
//! A flow that is to leave for another counts for its port and its client no longer, and for the whole
//! until it has ended. One that is in use has no rank, and nobody finds it who looks for room. Nothing
//! in this file knows sockets or threads.

mod eviction;
pub(super) mod listing;
pub(super) mod shares;

use std::collections::{BTreeSet, HashMap};

use harbor_common::addr::Ip;
use slab::Slab;

use super::{ports::socket::Key, worker::poll::Name};
use crate::model::Protocol;

/// Why a flow may end for another; the first of these end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A UDP flow whose client has spoken once.
    Question,
    /// One side of it has ended, and nothing moves.
    HalfClosed,
    /// Its TLS handshake is not finished.
    Handshake,
    /// It has never carried a byte: no backend has answered yet, or neither side has spoken.
    Unused,
}

/// What is kept for ports that have little: one part of so many of the whole.
const FOR_NEWCOMERS: u64 = 8;
/// A port has little below one part of so many of the whole.
const LITTLE: u64 = 32;

impl Rank {
    pub(super) const ALL: [Self; 4] = [
        Self::Question,
        Self::HalfClosed,
        Self::Handshake,
        Self::Unused,
    ];
}

/// Where a flow lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Its thread, by number.
    pub(super) worker: usize,
    pub(super) protocol: Protocol,
    pub(super) name: Name,
}

/// A flow that wants in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) home: Home,
    pub(super) port: Key,
    pub(super) client: Ip,
    pub(super) descriptors: u64,
    pub(super) rank: Rank,
}

/// How many descriptors there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Of all flows.
    pub(super) whole: u64,
    pub(super) port: u64,
    pub(super) client: u64,
    /// Of flows that were told to leave and have not left.
    pub(super) leaving: u64,
    /// Whether the cap on flows is reached.
    pub(super) is_crowded: bool,
}

impl Room {
    /// What all may have, without what is kept for ports that have little.
    pub(super) fn for_all(&self) -> u64 {
        self.whole - self.whole / FOR_NEWCOMERS
    }

    /// Whether a port with so many descriptors has little.
    pub(super) fn is_little(&self, descriptors: u64) -> bool {
        descriptors <= self.whole / LITTLE
    }
}

/// A flow that is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    home: Home,
    pub(super) port: Key,
    pub(super) client: Ip,
    pub(super) descriptors: u64,
    /// And since when.
    rank: Option<(Rank, u64)>,
    leaves: bool,
}

/// What a port or a client has.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) descriptors: u64,
    pub(super) handshakes: u64,
    /// Those of its flows that may end for others, the first of them first.
    pub(super) ranked: BTreeSet<(Rank, u64, u32)>,
}

impl Entry {
    /// Handshakes that it makes: one or none.
    pub(super) fn handshakes(&self) -> u64 {
        u64::from(matches!(self.rank, Some((Rank::Handshake, _))))
    }
}

/// All flows.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: Slab<Entry>,
    /// Descriptors of all of them.
    total: u64,
    /// Of these, those of flows that leave.
    leaving: u64,
    /// How many leave.
    leavers: u64,
    handshakes: u64,
    ports: HashMap<Key, Holder>,
    clients: HashMap<Ip, Holder>,
}

impl Book {
    /// Descriptors of all flows.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many there are, without those that leave.
    pub(super) fn flows(&self) -> u64 {
        (self.entries.len() as u64).saturating_sub(self.leavers)
    }

    /// Lets a flow in, for which these leave: its number here, and where they live.
    pub(super) fn enter(
        &mut self,
        newcomer: &Newcomer,
        victims: Vec<u32>,
        now: u64,
    ) -> (u32, Vec<Home>) {
        let leave = |index: u32| self.leave(index);
        let homes = victims.into_iter().filter_map(leave).collect();
        let rank = Some((newcomer.rank, now));
        let index = self.entries.insert(Entry {
            home: newcomer.home,
            port: newcomer.port,
            client: newcomer.client,
            descriptors: newcomer.descriptors,
            rank,
            leaves: false,
        }) as u32;
        self.total += newcomer.descriptors;
        self.weigh(index, Weigh::On);
        (index, homes)
    }

    /// Whether a flow may have one more descriptor, with nobody leaving for it.
    pub(super) fn may_grow(&self, index: u32, room: &Room) -> bool {
        let Some(entry) = self.entries.get(index as usize) else {
            return false;
        };
        let of = |holder: Option<&Holder>| holder.map_or(0, |holder| holder.descriptors);
        self.total < room.for_all()
            && of(self.ports.get(&entry.port)) < room.port
            && of(self.clients.get(&entry.client)) < room.client
    }

    /// A flow has more descriptors than before, or fewer.
    pub(super) fn resize(&mut self, index: u32, descriptors: u64) {
        self.change(index, |book, entry| {
            book.total = book.total + descriptors - entry.descriptors;
            if entry.leaves {
                book.leaving = book.leaving + descriptors - entry.descriptors;
            }
            entry.descriptors = descriptors;
        });
    }

    /// A flow has come into use, or out of it.
    pub(super) fn set_rank(&mut self, index: u32, rank: Option<Rank>, now: u64) {
        self.change(index, |_, entry| entry.rank = rank.map(|rank| (rank, now)));
    }

    /// A flow that was to leave stays: it came into use meanwhile.
    pub(super) fn stay(&mut self, index: u32) {
        self.change(index, |book, entry| {
            if std::mem::replace(&mut entry.leaves, false) {
                book.leaving -= entry.descriptors;
                book.leavers -= 1;
            }
        });
    }

    /// A flow has ended.
    pub(super) fn remove(&mut self, index: u32) {
        self.weigh(index, Weigh::Off);
        if let Some(entry) = self.entries.try_remove(index as usize) {
            self.total -= entry.descriptors;
            if entry.leaves {
                self.leaving -= entry.descriptors;
                self.leavers -= 1;
            }
        }
    }

    /// The descriptors of each port.
    pub(super) fn ports(&self) -> impl Iterator<Item = (Key, u64)> {
        let ports = self.ports.iter();
        ports.map(|(key, holder)| (*key, holder.descriptors))
    }

    /// The descriptors of each client.
    pub(super) fn clients(&self) -> impl Iterator<Item = (Ip, u64)> {
        let clients = self.clients.iter();
        clients.map(|(client, holder)| (*client, holder.descriptors))
    }

    pub(super) fn port(&self, key: Key) -> Option<&Holder> {
        self.ports.get(&key)
    }

    pub(super) fn client(&self, client: Ip) -> Option<&Holder> {
        self.clients.get(&client)
    }

    pub(super) fn holders_of_ports(&self) -> impl Iterator<Item = &Holder> {
        self.ports.values()
    }

    /// An entry that somebody has found in a holder.
    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// Descriptors of flows that leave and have not left.
    pub(super) fn leaving(&self) -> u64 {
        self.leaving
    }

    pub(super) fn handshakes(&self) -> u64 {
        self.handshakes
    }

    /// It no longer counts for its port and its client; `None` = it leaves already.
    fn leave(&mut self, index: u32) -> Option<Home> {
        let mut home = None;
        self.change(index, |book, entry| {
            if !std::mem::replace(&mut entry.leaves, true) {
                book.leaving += entry.descriptors;
                book.leavers += 1;
                home = Some(entry.home);
            }
        });
        home
    }

    /// Changes an entry, and what is counted by it.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Self, &mut Entry)) {
        self.weigh(index, Weigh::Off);
        if let Some(mut entry) = self.entries.get(index as usize).copied() {
            change(self, &mut entry);
            self.entries[index as usize] = entry;
        }
        self.weigh(index, Weigh::On);
    }

    /// Counts an entry for its port and its client, or no longer. One that leaves counts for neither.
    fn weigh(&mut self, index: u32, how: Weigh) {
        let Some(entry) = self
            .entries
            .get(index as usize)
            .filter(|entry| !entry.leaves)
        else {
            return;
        };
        let shakes = entry.handshakes();
        let place = entry.rank.map(|(rank, since)| (rank, since, index));
        let (port, client) = (entry.port, entry.client);
        self.handshakes = how.of(self.handshakes, shakes);
        let holders = [
            self.ports.entry(port).or_default(),
            self.clients.entry(client).or_default(),
        ];
        for holder in holders {
            holder.descriptors = how.of(holder.descriptors, entry.descriptors);
            holder.handshakes = how.of(holder.handshakes, shakes);
            match (place, how) {
                (Some(place), Weigh::On) => {
                    holder.ranked.insert(place);
                }
                (Some(place), Weigh::Off) => {
                    holder.ranked.remove(&place);
                }
                (None, _) => {}
            }
        }
        if how == Weigh::Off {
            self.forget_empty(port, client);
        }
    }

    fn forget_empty(&mut self, port: Key, client: Ip) {
        let is_empty = |holder: Option<&Holder>| holder.is_some_and(|one| one.descriptors == 0);
        if is_empty(self.ports.get(&port)) {
            self.ports.remove(&port);
        }
        if is_empty(self.clients.get(&client)) {
            self.clients.remove(&client);
        }
    }
}

/// Whether something is counted from now on, or no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weigh {
    On,
    Off,
}

impl Weigh {
    fn of(self, sum: u64, part: u64) -> u64 {
        match self {
            Self::On => sum + part,
            Self::Off => sum - part,
        }
    }
}
