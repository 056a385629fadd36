//! The connections of one listener: how many there may be, in all and of one peer, and who makes room.
//!
//! Whoever has not yet asked for anything that it may have is a stranger. A newcomer takes the place
//! of the oldest stranger, then of whoever has been idle longest: nobody shuts others out by staying.
//! Root, by the socket, is never counted and never turned away.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{sync::Notify, time::Instant};

use super::{Peer, pulse::Pulse};
use crate::model::HttpLimits;

/// Descriptors that no client of a listener gets but root.
const RESERVE: u64 = 64;
/// A listener has at most this part of the process's descriptors.
const SHARE: u64 = 16;
/// With however few descriptors.
const LEAST: usize = 16;

/// Whom connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Origin {
    User(u32),
    Network(IpAddr),
}

impl Origin {
    pub(super) fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Process { uid, .. } => Self::User(*uid),
            Peer::Network { address, .. } => Self::Network(match address.ip().to_canonical() {
                IpAddr::V6(v6) => {
                    let network = u128::from(v6) & !u128::from(u64::MAX);
                    IpAddr::V6(network.into())
                }
                v4 => v4,
            }),
        }
    }

    fn is_root(self) -> bool {
        matches!(self, Self::User(uid) if uid == 0 || uid == nix::unistd::geteuid().as_raw())
    }
}

/// Everybody who is connected.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    table: Arc<Mutex<Table>>,
    limits: HttpLimits,
    /// The first descriptor that is kept back.
    reserve: u64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// In the order in which they came; without root's.
    all: BTreeMap<u64, Seat>,
    of_origin: BTreeMap<Origin, BTreeSet<u64>>,
    /// Who was a stranger when it was looked at last.
    strangers: BTreeSet<u64>,
    turned_away: u64,
}

#[derive(Debug)]
struct Seat {
    origin: Origin,
    pulse: Pulse,
    leave: Arc<Notify>,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    id: u64,
    table: Arc<Mutex<Table>>,
    pub(super) pulse: Pulse,
    leave: Arc<Notify>,
}

impl Guests {
    pub(super) fn new(mut limits: HttpLimits) -> Self {
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1_024, 1_024));
        let share = usize::try_from(descriptors / SHARE).unwrap_or(usize::MAX);
        limits.connections = limits.connections.min(share.max(LEAST));
        Self {
            table: Arc::default(),
            limits,
            reserve: descriptors.saturating_sub(RESERVE),
        }
    }

    /// Gives a connection a place, if there is one for it or somebody makes room.
    pub(super) fn admit(&self, peer: &Peer, descriptor: RawFd) -> Option<Guest> {
        let origin = Origin::of(peer);
        let mut table = lock(&self.table);
        if !origin.is_root() {
            let own = table.of_origin.get(&origin).map_or(0, BTreeSet::len);
            // The kernel gives the lowest free number: all below it are in use.
            let is_scarce = u64::try_from(descriptor).is_ok_and(|number| number >= self.reserve);
            let has_room = if own >= self.limits.connections_per_peer {
                table.make_room_of(origin)
            } else if is_scarce || table.all.len() >= self.limits.connections {
                table.make_room()
            } else {
                true
            };
            if !has_room || is_scarce {
                table.turned_away += 1;
                return None;
            }
        }
        let (pulse, leave) = (Pulse::new(), Arc::new(Notify::new()));
        let id = table.next;
        table.next += 1;
        if !origin.is_root() {
            let seat = Seat {
                origin,
                pulse: pulse.clone(),
                leave: Arc::clone(&leave),
            };
            table.all.insert(id, seat);
            table.of_origin.entry(origin).or_default().insert(id);
            table.strangers.insert(id);
        }
        Some(Guest {
            id,
            table: Arc::clone(&self.table),
            pulse,
            leave,
        })
    }
}

impl Table {
    /// Asks somebody to leave: the oldest stranger, else who has been idle longest.
    fn make_room(&mut self) -> bool {
        while let Some(id) = self.strangers.pop_first() {
            if self.all.get(&id).is_some_and(Seat::is_stranger) {
                return self.evict(id);
            }
        }
        let idle = self.all.iter().filter_map(Seat::idle_since);
        let idlest = idle.min().map(|(_, id)| id);
        idlest.is_some_and(|id| self.evict(id))
    }

    /// Asks one of a peer's own to leave.
    fn make_room_of(&mut self, origin: Origin) -> bool {
        let own = self.of_origin.get(&origin).into_iter().flatten();
        let own: Vec<(&u64, &Seat)> = own.filter_map(|id| self.all.get_key_value(id)).collect();
        let stranger = own.iter().find(|(_, seat)| seat.is_stranger());
        let stranger = stranger.map(|(id, _)| **id);
        let idle = || own.iter().copied().filter_map(Seat::idle_since).min();
        let chosen = stranger.or_else(|| idle().map(|(_, id)| id));
        chosen.is_some_and(|id| self.evict(id))
    }

    fn evict(&mut self, id: u64) -> bool {
        let seat = self.remove(id);
        seat.inspect(|seat| seat.leave.notify_one()).is_some()
    }

    fn remove(&mut self, id: u64) -> Option<Seat> {
        let seat = self.all.remove(&id)?;
        self.strangers.remove(&id);
        if let Some(own) = self.of_origin.get_mut(&seat.origin) {
            own.remove(&id);
            if own.is_empty() {
                self.of_origin.remove(&seat.origin);
            }
        }
        Some(seat)
    }
}

impl Seat {
    fn is_stranger(&self) -> bool {
        !self.pulse.is_trusted()
    }

    fn idle_since((id, seat): (&u64, &Self)) -> Option<(Instant, u64)> {
        Some((seat.pulse.idle_since()?, *id))
    }
}

impl Guest {
    /// Resolves when it is to make room.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.table).remove(self.id);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Peer {
        Peer::Network {
            address: text.parse().unwrap(),
            subject: None,
        }
    }

    fn user(uid: u32) -> Peer {
        Peer::Process {
            uid,
            gid: uid,
            pid: 1,
            groups: Vec::new(),
        }
    }

    fn guests(connections: usize, connections_per_peer: usize) -> Guests {
        let mut guests = Guests::new(HttpLimits::default());
        guests.limits.connections = connections;
        guests.limits.connections_per_peer = connections_per_peer;
        guests.reserve = 1_000;
        guests
    }

    fn is_told(guest: &Guest) -> bool {
        let left = guest.told_to_leave();
        futures_util::FutureExt::now_or_never(left).is_some()
    }

    #[test]
    fn strangers_make_room_first_and_nobody_of_another_peer_for_a_peer_s_own_excess() {
        let guests = guests(3, 2);
        let friend = guests.admit(&from("10.0.0.1:1"), 9).unwrap();
        friend.pulse.trust();
        let first = guests.admit(&from("10.0.0.2:1"), 9).unwrap();
        let second = guests.admit(&from("10.0.0.2:2"), 9).unwrap();
        let third = guests.admit(&from("10.0.0.2:3"), 9).unwrap();
        assert!(is_told(&first) && !is_told(&second) && !is_told(&friend));
        let other = guests.admit(&from("10.0.0.3:1"), 9).unwrap();
        assert!(is_told(&second) && !is_told(&third) && !is_told(&friend));
        // Nobody but those who are served: nobody makes room.
        let busy: Vec<_> = [&friend, &third, &other]
            .map(|guest| {
                guest.pulse.trust();
                guest.pulse.busy()
            })
            .into();
        assert!(guests.admit(&from("10.0.0.4:1"), 9).is_none());
        drop(busy);
        let late = guests.admit(&from("10.0.0.4:1"), 9).unwrap();
        assert!([&friend, &third, &other].into_iter().any(is_told));
        drop((friend, third, other, late, first, second));
        let table = lock(&guests.table);
        assert!(table.all.is_empty() && table.of_origin.is_empty());
    }

    #[test]
    fn root_has_a_place_always_and_descriptors_are_kept_back_for_it() {
        let guests = guests(2, 1);
        let _held: Vec<_> = [1_000, 1_001].map(|uid| guests.admit(&user(uid), 9)).into();
        assert!(guests.admit(&user(2_000), 1_000).is_none(), "scarce");
        let root: Vec<_> = (0..100).map(|_| guests.admit(&user(0), 1_000)).collect();
        assert!(root.iter().all(Option::is_some));
        assert_eq!(lock(&guests.table).turned_away, 1);
    }

    #[test]
    fn a_peer_of_ipv6_is_a_64() {
        let of = |text| Origin::of(&from(text));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2]:2"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:10.0.0.1]:1"), of("10.0.0.1:2"));
    }
}
