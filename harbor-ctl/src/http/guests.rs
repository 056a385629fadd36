//! The connections of one listener: how many there may be, in all and of one peer, and who makes room.
//!
//! Whoever has not yet asked for anything that it may have is a stranger. When a listener is full, the
//! peer with the most connections makes room: first a stranger that has said nothing, then another
//! stranger, then who has been idle longest. Nobody shuts others out by staying. Root, by the socket,
//! is never counted and never turned away.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use harbor_common::addr::Ip;
use nix::sys::resource::{Resource, getrlimit};
use tokio::{sync::Notify, time::Instant};

use super::{peer::Peer, pulse::Pulse};
use crate::model::HttpLimits;

/// Descriptors that no client of a listener gets but root.
const RESERVE: u64 = 64;
/// A listener has at most this part of the process's descriptors.
const SHARE: u64 = 16;
/// With however few descriptors.
const LEAST: usize = 16;

/// How long a connection has to say something where its peer has many.
const MOMENT: Duration = Duration::from_secs(1);
/// How many times its share a peer may have meanwhile.
const BURST: usize = 4;

/// Whom connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Origin {
    User(u32),
    Network(Ip),
}

impl Origin {
    pub(super) fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Process { uid, .. } => Self::User(*uid),
            Peer::Network { address, .. } => Self::Network(Ip::from(address.ip()).network()),
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
    /// Origins by how many they have.
    weights: BTreeSet<(usize, Origin)>,
    turned_away: u64,
}

#[derive(Debug)]
struct Seat {
    origin: Origin,
    since: Instant,
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
            // The kernel gives the lowest free number: all below it are in use.
            let is_scarce = u64::try_from(descriptor).is_ok_and(|number| number >= self.reserve);
            let has_room = self.has_room_of(&mut table, origin)
                && (!is_scarce && table.all.len() < self.limits.connections || table.make_room());
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
                since: Instant::now(),
                pulse: pulse.clone(),
                leave: Arc::clone(&leave),
            };
            table.insert(id, seat);
        }
        Some(Guest {
            id,
            table: Arc::clone(&self.table),
            pulse,
            leave,
        })
    }
}

impl Guests {
    /// Whether a peer may have one more. One that comes with many at once has a moment to speak.
    fn has_room_of(&self, table: &mut Table, origin: Origin) -> bool {
        let most = self.limits.connections_per_peer;
        let count = table.count(origin);
        if count < most {
            return true;
        }
        // They stand in the order in which they came.
        let silent = table.seats(origin).find(|(_, seat)| seat.pulse.is_silent());
        let late = silent.filter(|(_, seat)| seat.since.elapsed() >= MOMENT);
        let late = late.map(|(id, _)| id);
        match late {
            Some(id) => table.evict(id),
            None if count < most.saturating_mul(BURST) => true,
            None => {
                let chosen = table.dispensable(origin);
                chosen.is_some_and(|id| table.evict(id))
            }
        }
    }
}

impl Table {
    fn count(&self, origin: Origin) -> usize {
        self.of_origin.get(&origin).map_or(0, BTreeSet::len)
    }

    /// Asks one of the peer with the most connections to leave, else of the next.
    fn make_room(&mut self) -> bool {
        let mut heaviest = self.weights.iter().rev();
        let chosen = heaviest.find_map(|(_, origin)| self.dispensable(*origin));
        chosen.is_some_and(|id| self.evict(id))
    }

    fn seats(&self, origin: Origin) -> impl Iterator<Item = (u64, &Seat)> {
        let own = self.of_origin.get(&origin).into_iter().flatten();
        own.filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// Which of a peer's is missed least.
    fn dispensable(&self, origin: Origin) -> Option<u64> {
        let silent = || self.seats(origin).find(|(_, seat)| seat.pulse.is_silent());
        let stranger = || {
            self.seats(origin)
                .find(|(_, seat)| !seat.pulse.is_trusted())
        };
        let idle = || {
            let idle = self.seats(origin).filter_map(Seat::idle_since);
            idle.min().map(|(_, id)| id)
        };
        let first = silent().or_else(stranger).map(|(id, _)| id);
        first.or_else(idle)
    }

    fn insert(&mut self, id: u64, seat: Seat) {
        let origin = seat.origin;
        let count = self.count(origin);
        self.weights.remove(&(count, origin));
        self.weights.insert((count + 1, origin));
        self.of_origin.entry(origin).or_default().insert(id);
        self.all.insert(id, seat);
    }

    fn evict(&mut self, id: u64) -> bool {
        let seat = self.remove(id);
        seat.inspect(|seat| seat.leave.notify_one()).is_some()
    }

    fn remove(&mut self, id: u64) -> Option<Seat> {
        let seat = self.all.remove(&id)?;
        let origin = seat.origin;
        let count = self.count(origin);
        self.weights.remove(&(count, origin));
        match self.of_origin.get_mut(&origin) {
            Some(own) if count > 1 => {
                own.remove(&id);
                self.weights.insert((count - 1, origin));
            }
            _ => {
                self.of_origin.remove(&origin);
            }
        }
        Some(seat)
    }
}

impl Seat {
    fn idle_since((id, seat): (u64, &Self)) -> Option<(Instant, u64)> {
        Some((seat.pulse.idle_since()?, id))
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
    fn the_peer_with_the_most_makes_room_and_strangers_do_first() {
        let guests = guests(3, 8);
        let friend = guests.admit(&from("10.0.0.2:1"), 9).unwrap();
        friend.pulse.trust();
        let first = guests.admit(&from("10.0.0.2:2"), 9).unwrap();
        first.pulse.speaks();
        let second = guests.admit(&from("10.0.0.2:3"), 9).unwrap();
        let other = guests.admit(&from("10.0.0.3:1"), 9).unwrap();
        assert!(is_told(&second) && !is_told(&first), "silent ones first");
        let third = guests.admit(&from("10.0.0.4:1"), 9).unwrap();
        assert!(is_told(&first) && !is_told(&friend) && !is_told(&other));
        // Nobody but those who are served: nobody makes room.
        let served = [&friend, &other, &third];
        let busy: Vec<_> = served
            .map(|guest| {
                guest.pulse.trust();
                guest.pulse.busy()
            })
            .into();
        assert!(guests.admit(&from("10.0.0.5:1"), 9).is_none());
        drop(busy);
        let late = guests.admit(&from("10.0.0.5:1"), 9).unwrap();
        assert!(served.into_iter().any(is_told));
        drop((friend, first, second, third, other, late));
        let table = lock(&guests.table);
        assert!(table.all.is_empty() && table.of_origin.is_empty() && table.weights.is_empty());
    }

    #[test]
    fn a_peer_with_too_many_loses_its_own() {
        let guests = guests(1_000, 2);
        let other = guests.admit(&from("10.0.0.3:1"), 9).unwrap();
        // Many at once have a moment.
        let all: Vec<_> = (0..8)
            .map(|_| guests.admit(&from("10.0.0.2:1"), 9).unwrap())
            .collect();
        assert!(!all.iter().any(is_told));
        let ninth = guests.admit(&from("10.0.0.2:1"), 9).unwrap();
        assert!(is_told(&all[0]) && !is_told(&all[1]) && !is_told(&other));
        for seat in lock(&guests.table).all.values_mut() {
            seat.since -= MOMENT;
        }
        all[1].pulse.speaks();
        drop(ninth);
        let _tenth = guests.admit(&from("10.0.0.2:1"), 9).unwrap();
        assert!(!is_told(&all[1]) && is_told(&all[2]) && !is_told(&other));
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
