//! How often a password may be tried: a few times at once, then now and then, for each name from an
//! address and for all names from it; and one at a time, so that checking costs no more than one core and
//! one hash's memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use harbor_common::addr::Ip;
use tokio::sync::Semaphore;

/// Wrong ones at once: for one name, so that whoever guesses shuts out nobody else behind the same
/// address, and for all of them together.
const BURST: u32 = 10;
const BURST_OF_ALL: u32 = 50;
/// How long each takes to be forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// Addresses that are told apart, and names; all other addresses are one, and other names not told apart.
const MOST: usize = 4_096;

/// A network of one subscriber; `None` = any other.
type Origin = Option<Ip>;

/// Counts what was wrong.
#[derive(Debug)]
pub(super) struct Gate {
    wrong: Mutex<Wrong>,
    names: RandomState,
    /// Held while a password is checked.
    pub(super) turn: Semaphore,
}

/// When all that was wrong will be forgotten.
#[derive(Debug, Default)]
struct Wrong {
    by_origin: HashMap<Origin, Instant>,
    /// By a hash of the name: it may be long.
    by_name: HashMap<(Origin, u64), Instant>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            wrong: Mutex::default(),
            names: RandomState::new(),
            turn: Semaphore::new(1),
        }
    }
}

impl Gate {
    /// Counts a try before it is made; how long to wait if it is one too many.
    pub(super) fn try_once(&self, who: (IpAddr, &str), now: Instant) -> Result<(), Duration> {
        let (own, name) = self.key(who);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let Wrong { by_origin, by_name } = &mut *wrong;
        by_origin.retain(|_, until| *until > now);
        by_name.retain(|_, until| *until > now);
        let whose = own.filter(|_| has_room(by_origin, &own));
        let name = (whose, name);
        let one = next(by_name.get(&name), BURST, now)?;
        let all = next(by_origin.get(&whose), BURST_OF_ALL, now)?;
        by_origin.insert(whose, all);
        if has_room(by_name, &name) {
            by_name.insert(name, one);
        }
        Ok(())
    }

    /// What was right was no try.
    pub(super) fn was_right(&self, who: (IpAddr, &str)) {
        let (own, name) = self.key(who);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = wrong.by_origin.get_mut(&own) {
            *until -= FORGOTTEN;
        }
        if let Some(until) = wrong.by_name.get_mut(&(own, name)) {
            *until -= FORGOTTEN;
        }
    }

    fn key(&self, (from, name): (IpAddr, &str)) -> (Origin, u64) {
        (Some(Ip::from(from).network()), self.names.hash_one(name))
    }
}

fn has_room<K: Eq + Hash>(known: &HashMap<K, Instant>, key: &K) -> bool {
    known.contains_key(key) || known.len() < MOST
}

/// When all will be forgotten after one more, or how long to wait for it.
fn next(until: Option<&Instant>, burst: u32, now: Instant) -> Result<Instant, Duration> {
    let next = until.copied().unwrap_or(now).max(now) + FORGOTTEN;
    let latest = now + FORGOTTEN * burst;
    match next > latest {
        true => Err(next - latest),
        false => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_then_one_in_ten_seconds_each_for_itself() {
        let (gate, start) = (Gate::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        let taken = (0..1_000).filter(|_| gate.try_once((one, "ann"), start).is_ok());
        assert_eq!(taken.count(), BURST as usize);
        assert_eq!(gate.try_once((neighbour, "ann"), start), Err(FORGOTTEN));
        assert_eq!(gate.try_once((neighbour, "bob"), start), Ok(()));
        assert_eq!(gate.try_once((other, "ann"), start), Ok(()));
        let later = start + FORGOTTEN;
        assert_eq!(gate.try_once((one, "ann"), later), Ok(()));
        assert_eq!(gate.try_once((one, "ann"), later), Err(FORGOTTEN));
        gate.was_right((one, "ann"));
        assert_eq!(gate.try_once((one, "ann"), later), Ok(()));
    }

    #[test]
    fn whoever_tries_many_names_is_one_too() {
        let (gate, now) = (Gate::default(), Instant::now());
        let from: IpAddr = "10.0.0.1".parse().unwrap();
        let names = (0..1_000).map(|n| n.to_string());
        let taken = names.filter(|name| gate.try_once((from, name), now).is_ok());
        assert_eq!(taken.count(), BURST_OF_ALL as usize);
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let (gate, now) = (Gate::default(), Instant::now());
        for n in 0..u32::try_from(MOST).unwrap() + 1_000 {
            let _ = gate.try_once((IpAddr::V4(n.into()), "ann"), now);
        }
        let wrong = gate.wrong.lock().unwrap();
        assert_eq!(wrong.by_origin.len(), MOST + 1);
        assert!(wrong.by_name.len() <= MOST + 1);
    }
}
